//! Which conversation a request goes on with, without the client's help.
//!
//! Every request of a multi-turn conversation sends its messages again. [`Sessions`] turns each
//! message into a keyed digest and remembers, for each request, the digest of all its
//! messages and of its last exchanges, and finds them again at the beginning, or near the end, of
//! a later request. Nothing of a text is kept, and without the key no digest tells what was said.

mod digest;
mod message;
mod node;
mod outline;
mod places;
mod read;
mod recogniser;
mod sessions;
mod shared;
mod summary;
mod trail;
mod walk;

pub use digest::Key;
pub use message::{Conversation, Message, Speaker};
pub use node::{Place, Turn};
pub use permille_types::TurnKind;
pub use recogniser::{NextTurn, Recogniser};
pub use sessions::{Bounds, Placed, Replied, Sessions};
pub use shared::{Counter, Health, Shared, SharedError, Sharing};
pub use trail::Search;
