//! Gives a request one of the bounded places, or refuses it. The place is held until the reply
//! has ended, unlike `tower::limit::ConcurrencyLimit`, which frees it when the reply begins.

use std::sync::Arc;

use permille_limits::Budget;

use crate::{
    context::{Admitted, Inbound},
    refusal::Refusal,
    stage::Stage,
};

pub(crate) struct Admit {
    pub(crate) places: Arc<Budget>,
}

impl Stage<Inbound> for Admit {
    type Out = Admitted;

    fn enter(&self, inbound: Inbound) -> Result<Admitted, Refusal> {
        let place = self.places.take(1).ok_or(Refusal::Overloaded { what: "open requests" })?;
        Ok(Admitted { inbound, place })
    }
}
