//! The words of the pages, in each language.

use http::StatusCode;
use permille_documents::Language;
use permille_ledger::{InferredOutcome, Outcome};
use permille_types::{Ended, TurnKind};

macro_rules! words {
    ($($field:ident: $english:literal, $chinese:literal;)+) => {
        /// Every word and sentence of one language.
        #[derive(Debug)]
        pub(super) struct Words {
            $(pub(super) $field: &'static str,)+
        }

        static ENGLISH: Words = Words { $($field: $english,)+ };
        static CHINESE: Words = Words { $($field: $chinese,)+ };
    };
}

words! {
    tag: "en", "zh-CN";
    lang: "en", "zh";
    language: "English", "中文";
    console: "Permille console", "Permille 控制台";
    sign_in: "Sign in", "登录";
    sign_out: "Sign out", "退出登录";
    token: "Token", "令牌";
    token_hint: "One that `permille token create` made, of any role but gateway.",
        "由 `permille token create` 创建的令牌，gateway 角色除外。";
    wrong_token: "This token is unknown or revoked.", "令牌未知或已吊销。";
    no_role: "A token of this role has no pages here.", "此角色的令牌不能使用控制台。";
    onward: "Go on", "继续";
    not_found: "Not found", "未找到";
    forbidden: "Not allowed", "无权限";
    not_accepted: "Not accepted", "请求不被接受";
    not_possible: "Not possible now", "暂时无法完成";
    to_sessions: "All sessions", "全部会话";
    sessions: "Sessions", "会话";
    session: "Session", "会话";
    none: "No sessions.", "没有会话。";
    customer: "Customer", "客户";
    filter: "Show", "筛选";
    everyone: "everyone", "全部";
    turns: "Turns", "轮数";
    turns_min: "Turns at least", "最少轮数";
    requests: "Requests", "请求数";
    cost: "Cost", "费用";
    currency: "Currency", "币种";
    resent_share: "Resent share", "重发占比";
    outcome: "Outcome", "结果";
    inferred: "inferred", "推断";
    first_seen: "First seen", "首次活动";
    last_seen: "Last seen", "最近活动";
    next: "Next page", "下一页";
    first_page: "First page", "第一页";
    total_cost: "Total cost", "总费用";
    cost_per_turn: "Cost per turn", "每轮费用";
    resent_tokens: "Tokens sent again", "重发 Token";
    resent_cost: "Cost of what was sent again", "重发费用";
    cached_share: "From the provider's cache", "供应商缓存命中占比";
    cache_saving: "Saved by the cache", "缓存节省";
    cache_missed: "Saving missed", "错过的缓存节省";
    regenerations: "Regenerations", "重新生成";
    retries: "Retries", "重试";
    failed_requests: "Requests that did not complete", "未完成的请求";
    failed_attempts: "Failed upstream calls", "失败的上游调用";
    unpriced: "Requests without a price", "无价格的请求";
    simulated: "Simulated requests", "模拟请求";
    turn: "Turn", "轮次";
    kind: "Kind", "类型";
    model: "Model", "模型";
    input: "Input", "输入";
    resent: "Resent", "重发";
    cached: "Cached", "缓存";
    output: "Output", "输出";
    turn_cost: "Cost of the turn", "本轮费用";
    turn_cost_means:
        "The cost of a turn is its marginal cost: what the session costs more with all its requests.",
        "本轮费用即边际费用：本轮全部请求使会话增加的费用。";
    cumulative: "Cumulative cost", "累计费用";
    first_token: "First token", "首 Token";
    duration: "Duration", "时长";
    ended: "Ended", "结束方式";
    request: "Request", "请求";
    record: "record", "记录";
    not_known: "not known", "未知";
    not_priced: "no price", "无价格";
    turns_title: "Turns and their requests", "轮次与请求";
    tokens_unit: "Columns of tokens are in tokens, times in milliseconds.",
        "Token 列以 Token 为单位，时间以毫秒为单位。";
    cut: "Only the newest 1,000 requests are listed here; all of them:",
        "此处仅列出最新的 1,000 个请求；全部请求：";
    too_long: "More than 10,000 requests: neither turns nor requests are listed here. The requests:",
        "请求超过 10,000 个：此处不列出轮次与请求。全部请求：";
    notes: "Notes", "备注";
    chart_title: "Cost by turn", "每轮费用";
    chart_bars: "Bars, left scale: cost of each turn, at most", "柱形（左轴）：每轮费用，最高";
    chart_line: "Line, right scale: cumulative cost, at the end", "折线（右轴）：累计费用，最终";
    chart_branch: "Of another colour: turns with a branch", "不同颜色：含分支的轮次";
    stop: ".", "。";
    times_in: "Times are those of", "时间所属时区";
}

impl Words {
    /// Those of a language.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::Chinese => &CHINESE,
        }
    }

    fn either(&self, english: &'static str, chinese: &'static str) -> &'static str {
        if self.lang == "zh" { chinese } else { english }
    }

    /// What a refusal of that status is called.
    pub(super) fn title_of(&self, status: StatusCode) -> &'static str {
        match status {
            StatusCode::NOT_FOUND => self.not_found,
            StatusCode::FORBIDDEN => self.forbidden,
            status if status.is_server_error() => self.not_possible,
            _ => self.not_accepted,
        }
    }

    pub(super) fn turn_kind(&self, kind: Option<TurnKind>) -> &'static str {
        match kind {
            None => self.not_known,
            Some(TurnKind::New) => self.either("new", "新会话"),
            Some(TurnKind::Continue) => self.either("continue", "继续"),
            Some(TurnKind::ToolLoop) => self.either("tool loop", "工具循环"),
            Some(TurnKind::Regenerate) => self.either("regenerate", "重新生成"),
            Some(TurnKind::Branch) => self.either("branch", "分支"),
        }
    }

    pub(super) fn ending(&self, ended: Ended) -> &'static str {
        match ended {
            Ended::Complete => self.either("complete", "完成"),
            Ended::ClientGone => self.either("client gone", "客户端断开"),
            Ended::UpstreamError => self.either("upstream error", "上游错误"),
            Ended::Deadline => self.either("deadline", "超时"),
            Ended::Budget => self.either("budget", "预算耗尽"),
            Ended::Shutdown => self.either("shutdown", "网关停止"),
            Ended::Orphaned => self.either("orphaned", "网关中断"),
        }
    }

    pub(super) fn told(&self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Accepted => self.either("accepted", "已采纳"),
            Outcome::Rejected => self.either("rejected", "已拒绝"),
            Outcome::Resolved => self.either("resolved", "已解决"),
            Outcome::Abandoned => self.either("abandoned", "已放弃"),
        }
    }

    pub(super) fn inferred_as(&self, outcome: InferredOutcome) -> &'static str {
        match outcome {
            InferredOutcome::Open => self.either("open", "进行中"),
            InferredOutcome::Abandoned => self.either("abandoned", "已放弃"),
            InferredOutcome::Failed => self.either("failed", "失败"),
            InferredOutcome::RejectedTurn => self.either("rejected turn", "末轮被拒"),
            InferredOutcome::Ended => self.either("ended", "已结束"),
        }
    }
}
