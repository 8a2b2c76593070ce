//! The words of documents that people read, in each language.

use chrono_tz::Tz;
use permille_rating::{Meter, charge::Per, period::Period};

use crate::{Language, text};

macro_rules! words {
    ($($field:ident: $english:literal, $chinese:literal;)+) => {
        /// Every word and sentence of one language.
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct Words {
            pub(crate) language: Language,
            $(pub(crate) $field: &'static str,)+
        }

        impl Words {
            pub(crate) const ENGLISH: Self =
                Self { language: Language::English, $($field: $english,)+ };
            const CHINESE: Self = Self { language: Language::Chinese, $($field: $chinese,)+ };
        }
    };
}

words! {
    tag: "en", "zh-CN";
    invoice: "Invoice", "账单";
    interim_invoice: "Interim invoice", "期中账单";
    credit_note: "Credit note", "贷项通知单";
    preview: "PREVIEW", "预览";
    draft: "DRAFT", "草稿";
    approved: "APPROVED, NOT ISSUED", "已审核，未开具";
    paid_state: "PAID", "已付款";
    void: "VOID", "已作废";
    simulated_state: "SIMULATED USAGE", "模拟用量";
    from: "From", "开单方";
    bill_to: "Bill to", "客户";
    number: "Number", "编号";
    customer: "Customer", "客户编号";
    issue_date: "Date of issue", "开具日期";
    due_date: "Due date", "付款期限";
    period: "Period", "计费周期";
    billed_before: "Billed before", "期中已开具";
    currency: "Currency", "币种";
    purchase_order: "Purchase order", "采购订单";
    credits: "Credits invoice", "冲销账单";
    reason: "Reason", "原因";
    tax_id: "Tax id", "税号";
    registration: "Registration", "注册号";
    amount_due: "Amount due", "应付金额";
    amount_credited: "Amount credited", "贷记金额";
    summary: "Summary", "汇总";
    by_model: "By model", "按模型";
    by_project: "By project", "按项目";
    model: "Model", "模型";
    project: "Project", "项目";
    continued: "(continued)", "（续）";
    detail: "Detail", "明细";
    class: "Class", "类别";
    band: "band", "档";
    thousands: "Thousand tokens", "千 Token";
    price: "Price per thousand", "每千单价";
    amount: "Amount", "金额";
    by_charge: "by charge", "按计费项";
    charges: "Charges and other terms", "计费项与套餐条款";
    charge: "Charge", "计费项";
    step: "Step", "步骤";
    quantity: "Quantity", "数量";
    unit_price: "Price", "单价";
    usage: "usage", "用量";
    tier: "tier", "阶梯";
    discount: "discount", "折扣";
    maximum: "maximum", "封顶";
    minimum: "minimum", "保底";
    included: "included", "包含量";
    fee: "fee", "套餐费";
    charge_amount: "Rounded once", "舍入一次";
    billed: "Billed here", "本单计费";
    each: "each", "每单位";
    late_of: "late usage of", "补计用量，所属月份";
    part_from: "from", "自";
    part_until: "until", "至";
    line: "Line", "行";
    subtotal: "Subtotal", "小计";
    net: "Net", "不含税金额";
    tax_summary: "Tax summary", "税额汇总";
    tax: "Tax", "税种";
    rate: "Rate", "税率";
    base: "Base", "计税基数";
    no_tax: "No tax is charged.", "未计税。";
    reverse_charge: "Reverse charge: the customer accounts for the tax.", "反向征收：由客户自行申报税款。";
    exempt: "Exempt from tax", "免税";
    total: "Total", "合计";
    prepaid: "Paid out of prepaid credit", "预付余额抵扣";
    sessions_of: "Multi-turn sessions", "多轮会话汇总";
    session: "Session", "会话";
    other_sessions: "All other sessions", "其余会话";
    no_session: "Not broken down", "未分摊到会话";
    all_sessions: "All sessions", "全部会话";
    requests: "Requests", "请求";
    turns: "Turns", "轮次";
    input_tokens: "Input tokens", "输入 Token";
    resent: "Sent again", "重复发送";
    resent_note: "Sent again: the share of the input tokens that the same session had sent or received before; an estimate. Requests whose place in a conversation is not known are in neither column.",
        "重复发送：同一会话此前已发送或接收过的输入 Token 所占比例，为估算值。无法确定其在会话中位置的请求不计入这两列。";
    notes: "Notes", "备注";
    payment: "Payment", "付款方式";
    unpriced_note: "requests are held for want of a price and are on no line.", "个请求暂无价格，未计入本单。";
    estimated_note: "requests have estimated counts, because the provider did not report all of them; tokens and units among the lines that were estimated:",
        "个请求的用量为估算（供应商未完整上报），其中估算的 Token 与单位数量：";
    simulated_note: "requests were served by the built-in simulated provider and are on no line.", "个请求由内置模拟供应商处理，未计费。";
    interim_note: "This is over the usage of the period so far; the rest, and what is owed for the whole period, is on an invoice after its end.",
        "本单为周期内截至目前的用量；其余用量及整个周期应付的费用，将在周期结束后另行开具。";
    simulated_only_note: "All usage is simulated: this is never issued.", "全部为模拟用量，不会正式开具。";
    verify: "How to verify this document", "如何核验本单";
    verify_lines: "Each line is quantity × price, rounded once to the smallest unit of the currency, half away from zero; a line by charge is its share of what that charge bills here. The lines less credit before tax add up to the net; each tax is the net times its rate, rounded once.",
        "每行金额 = 数量 × 单价，仅四舍五入一次至币种最小单位（远离零方向）；标明“按计费项”的行为该计费项本单计费金额的分摊。各行之和减去税前预付款等于不含税金额；每项税额 = 不含税金额 × 税率，仅舍入一次。";
    verify_records: "The Merkle tree (RFC 9162) over the records of the requests behind the lines, by month. `permille verify` computes its root and the lines again from the records:",
        "按月列出各行所依据的请求记录的 Merkle 树（RFC 9162）。`permille verify` 可由记录重新计算树根与各行：";
    month: "Month", "月份";
    root: "Merkle root", "Merkle 树根";
    verify_digest: "The document that was issued is JSON text with this SHA-256:", "正式开具的单据为 JSON 文本，其 SHA-256 为：";
    verify_command: "To get it and compare:", "获取并比对：";
    page: "Page", "第";
    of: "of", "页，共";
    pages_end: "", "页";
    generated: "Counted and billed by Permille", "由 Permille 计量与计费";
    contact: "Questions", "联系方式";
    paid_line: "Paid", "已付";
    credited_line: "Credited", "已贷记";
    refunded_line: "Paid back", "已退款";
    still_due: "Still due", "未付余额";
    standing_note: "As it stands at the time of this copy; not part of what was issued.", "为本副本生成时的状态，不属于已开具的内容。";
}

impl Words {
    pub(crate) fn of(language: Language) -> Self {
        match language {
            Language::English => Self::ENGLISH,
            Language::Chinese => Self::CHINESE,
        }
    }

    /// From when until when a part of a month is, by the wall clock of `zone`.
    pub(crate) fn part(&self, part: Period, zone: Tz) -> String {
        let [start, end] =
            [part.start, part.end].map(|at| at.with_timezone(&zone).format("%Y-%m-%d %H:%M %:z"));
        format!("{} {start} {} {end}", self.part_from, self.part_until)
    }

    /// What the quantity of a charge counts.
    pub(crate) fn per(&self, per: Per) -> &'static str {
        let (english, chinese) = match per {
            Per::Token => ("tokens", "Token"),
            Per::ThousandTokens => ("thousand tokens", "千 Token"),
            Per::MillionTokens => ("million tokens", "百万 Token"),
            Per::Request => ("requests", "请求"),
            Per::Second => ("seconds", "秒"),
            Per::Image => ("images", "图像"),
            Per::Search => ("searches", "搜索"),
            Per::ThousandCharacters => ("thousand characters", "千字符"),
        };
        match self.language {
            Language::English => english,
            Language::Chinese => chinese,
        }
    }

    /// What a token class or unit is called; one that is not known by its own name.
    pub(crate) fn meter(&self, meter: &Meter) -> String {
        let (english, chinese) = match meter.as_str() {
            "input_uncached" => ("input", "输入"),
            "cache_read" => ("cache read", "缓存读取"),
            "cache_read_explicit" => ("explicit cache read", "显式缓存读取"),
            "cache_write_5m" => ("cache write, 5 minutes", "缓存写入（5 分钟）"),
            "cache_write_30m" => ("cache write, 30 minutes", "缓存写入（30 分钟）"),
            "cache_write_1h" => ("cache write, 1 hour", "缓存写入（1 小时）"),
            "cache_write_12h" => ("cache write, 12 hours", "缓存写入（12 小时）"),
            "cache_write_other" => ("cache write", "缓存写入"),
            "audio_in" => ("audio input", "音频输入"),
            "image_in" => ("image input", "图像输入"),
            "video_in" => ("video input", "视频输入"),
            "output_text" => ("output", "输出"),
            "reasoning" => ("reasoning", "推理"),
            "audio_out" => ("audio output", "音频输出"),
            "image_out" => ("image output", "图像输出"),
            "requests" => ("requests", "请求"),
            "seconds" => ("seconds", "秒"),
            "images" => ("images", "图像"),
            "searches" => ("searches", "搜索"),
            "characters" => ("characters", "字符"),
            "charge" => ("charge", "计费项"),
            "fee" => ("fee", "套餐费"),
            "commitment" => ("missing to the commitment", "承诺用量差额"),
            "minimum" => ("missing to the minimum", "最低消费差额"),
            other => return text::line(other),
        };
        match self.language {
            Language::English => english.to_owned(),
            Language::Chinese => chinese.to_owned(),
        }
    }
}
