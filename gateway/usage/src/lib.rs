//! Bytes of a provider's reply in, token counts out.
