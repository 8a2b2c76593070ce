//! What happens in the demonstration: who asks which model what, as data.

use permille_types::Family;

/// Who is billed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buyer {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) currency: &'static str,
    pub(super) time_zone: &'static str,
    /// Id and name of a second cost centre beside `default`, if any.
    pub(super) project: Option<(&'static str, &'static str)>,
}

/// One multi-turn conversation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversation {
    pub(super) buyer: &'static str,
    /// A cost centre; `None` is the customer's default one.
    pub(super) project: Option<&'static str>,
    pub(super) session: &'static str,
    pub(super) family: Family,
    pub(super) model: &'static str,
    /// Instructions that go with every turn: what a provider caches.
    pub(super) system: &'static str,
    pub(super) steps: &'static [Step],
}

/// One request of a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A question; the whole conversation so far is sent with it.
    Ask { text: &'static str, tokens: u32, stream: bool },
    /// The last question once more, for another answer.
    Regenerate { tokens: u32 },
    /// A question whose reader leaves after some chunks of the answer.
    Abort { text: &'static str, tokens: u32, after_chunks: usize },
}

/// The customers.
pub(super) const BUYERS: [Buyer; 3] = [
    Buyer {
        id: "wenxin",
        name: "上海文心科技有限公司",
        currency: "CNY",
        time_zone: "Asia/Shanghai",
        project: None,
    },
    Buyer {
        id: "acme",
        name: "Acme Support Inc.",
        currency: "USD",
        time_zone: "America/New_York",
        project: Some(("search", "Search team")),
    },
    Buyer {
        id: "nordlicht",
        name: "Nordlicht GmbH",
        currency: "USD",
        time_zone: "Europe/Berlin",
        project: None,
    },
];

/// The conversations; they run side by side.
pub(super) const CONVERSATIONS: [Conversation; 4] = [
    Conversation {
        buyer: "wenxin",
        project: None,
        session: "wenxin-1",
        family: Family::OpenAi,
        model: "ERNIE-Bot",
        system: "你是一位耐心的产品顾问,请用简洁的中文回答。",
        steps: &[
            Step::Ask { text: "文心一言按什么计费?", tokens: 180, stream: true },
            Step::Ask {
                text: "如果每天一万次对话,每月大约多少钱?", tokens: 240, stream: true
            },
            Step::Regenerate { tokens: 220 },
            Step::Ask {
                text: "把上面的结论写成给财务的一封短信。", tokens: 320, stream: false
            },
        ],
    },
    Conversation {
        buyer: "acme",
        project: None,
        session: "acme-ticket-4711",
        family: Family::OpenAi,
        model: "gpt-4o-mini",
        system: HANDBOOK,
        steps: &[
            Step::Ask { text: "My parcel has not arrived. What now?", tokens: 150, stream: true },
            Step::Ask { text: "It says delivered, but I was not home.", tokens: 190, stream: true },
            Step::Regenerate { tokens: 170 },
            Step::Abort { text: "Write a long formal complaint.", tokens: 600, after_chunks: 20 },
            Step::Ask { text: "Shorter, please: three sentences.", tokens: 90, stream: true },
        ],
    },
    Conversation {
        buyer: "acme",
        project: Some("search"),
        session: "acme-query-rewrite",
        family: Family::OpenAi,
        model: "gpt-4o-mini",
        system: "Rewrite each question as one search query. Answer with the query alone.",
        steps: &[
            Step::Ask { text: "where can I return shoes near me", tokens: 12, stream: false },
            Step::Ask { text: "and without the box?", tokens: 14, stream: false },
        ],
    },
    Conversation {
        buyer: "nordlicht",
        project: None,
        session: "nordlicht-review",
        family: Family::Anthropic,
        model: "claude-sonnet-4-5",
        system: HANDBOOK,
        steps: &[
            Step::Ask { text: "Which rules here are hard to follow?", tokens: 260, stream: true },
            Step::Ask { text: "Rewrite the second one.", tokens: 200, stream: true },
            Step::Abort { text: "Now rewrite all of it.", tokens: 700, after_chunks: 25 },
            Step::Ask { text: "Only the refund rules, then.", tokens: 210, stream: false },
        ],
    },
];

/// Long enough to be worth caching: the simulated provider caches prefixes from 256 tokens.
const HANDBOOK: &str = "\
You answer for the support desk of a shop that ships to forty countries. Follow the handbook. \
First: greet the customer once, by name if the name is known, and never a second time in the same \
conversation. Second: find out what happened before you offer anything; ask for the order number, \
the date of delivery and a photo when something is broken. Third: a parcel counts as lost ten \
working days after its last scan inside the country, and twenty working days after it outside; \
until then, offer to watch the shipment and promise a message on a named day. Fourth: when the \
carrier reports a delivery that the customer denies, ask for the neighbours, the reception and the \
safe place; then open a carrier claim, and tell the customer that the carrier answers within five \
working days. Fifth: refunds go back the way the money came, within three working days after the \
goods are here or the claim is decided; shipping is refunded only when the fault was ours. Sixth: \
replacements leave on the same day when the order comes before two in the afternoon, local time \
of the warehouse. Seventh: goodwill up to ten percent of the order needs no approval, up to thirty \
percent needs the shift lead, and anything above needs the head of support in writing. Eighth: \
never promise what another team must do without naming the team and the day. Ninth: never ask for \
card numbers, passwords or identity papers, and tell customers who send them to delete the \
message. Tenth: end with one sentence that says what happens next and when.";
