//! The roll of the gateways that share the books: who is there and has told everything, and
//! whether Redis is the one it was.

use std::{sync::LazyLock, time::Duration};

use permille_types::NodeId;
use redis::Script;

use super::{SharedBooks, SharedError, unexpected};

static ROLL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("roll.lua")));

/// What the roll says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roll {
    /// Changes when Redis loses what it holds.
    pub(crate) epoch: String,
    /// Whether Redis held nothing before this.
    pub(crate) has_begun: bool,
    /// Milliseconds since 1970, by the server's clock.
    pub(crate) now: u64,
    /// When each gateway last said that it had told everything, by the same clock.
    pub(crate) told: Vec<u64>,
}

impl Roll {
    /// How many gateways have told everything since `since`.
    pub(crate) fn told_since(&self, since: u64) -> usize {
        self.told.iter().filter(|told| **told >= since).count()
    }

    fn read(answer: &[String]) -> Option<Self> {
        let [epoch, began, now, told @ ..] = answer else { return None };
        let told = told.iter().map(|told| told.parse().ok()).collect::<Option<_>>()?;
        let (epoch, now) = (epoch.clone(), now.parse().ok()?);
        Some(Self { epoch, has_begun: began == "1", now, told })
    }
}

impl SharedBooks {
    /// Answers the roll for `node`: with `told`, that it has told everything that it settled.
    /// Gateways that were silent for `forget` are struck off.
    ///
    /// # Errors
    /// [`SharedError`] when there is no answer.
    pub(crate) async fn roll(
        &self,
        node: &NodeId,
        told: bool,
        forget: Duration,
    ) -> Result<Roll, SharedError> {
        const OPERATION: &str = "roll";
        let mut call = ROLL.prepare_invoke();
        call.key("permille:{gateways}:here")
            .key("permille:{gateways}:epoch")
            .arg(node.as_str())
            .arg(u8::from(told))
            .arg(format!("{:032x}", fastrand::u128(..)))
            .arg(u64::try_from(forget.as_millis()).unwrap_or(u64::MAX));
        let answer = self.call(OPERATION, &call).await?;
        Roll::read(&answer).ok_or_else(|| unexpected(OPERATION))
    }
}
