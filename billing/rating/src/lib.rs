//! Pure rating: usage and prices in, exact cost and invoice arithmetic out.
