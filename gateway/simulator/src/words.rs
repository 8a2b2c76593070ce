//! The words that replies are made of. Only the lists, separated
//! by spaces; [`crate::vocabulary`] makes text of them.

/// English words, lower case, letters only.
pub(crate) const ENGLISH: &str = "\
    the and of to in that with for on from as by at into over after before between while \
    because so then also only still often every each some many most few more less both another \
    first second last next early late small large short long quiet steady plain clear useful \
    careful measured honest open warm cold river bridge harbour station market garden library \
    kitchen workshop village mountain valley window letter ledger invoice account balance price \
    ticket journey teacher student engineer baker sailor farmer neighbour question answer \
    number measure pattern machine engine signal message record history weather summer winter \
    morning evening water light paper stone copper timber bread coffee music story reason \
    result method detail example summary report review decision change writes reads counts \
    keeps sends takes gives makes finds shows explains compares carries follows remains begins \
    ends grows turns moves rests costs pays saves checks proves repeats improves slowly quickly \
    usually rarely together elsewhere understandably interoperability counterexample \
    thoroughfare bookkeeping reconciliation";

/// Words with letters of more than one byte, emoji and marks that JSON must escape.
pub(crate) const UNUSUAL: &str = "\
    café naïve Zürich São Łódź Ångström façade Москва Αθήνα 東京 서울 القاهرة 🙂 🎉 🚀 👩‍🚀 \
    🇨🇳 \"quoted\" C:\\temp a/b x<y &c";

/// Chinese phrases, Han characters only.
pub(crate) const CHINESE: &str = "\
    今天 我们 可以 因为 所以 如果 但是 然后 首先 其次 最后 例如 天气很好 价格合理 账单清楚 \
    用量准确 数据可靠 城市发展 学生提问 老师回答 工程师检查记录 每一次请求都有记录 模型生成文本 \
    按照千字计费 多轮对话会重复发送上文 成本逐渐增加 缓存可以节省费用 我们需要比较不同的方案 \
    请看下面的例子 结果与预期一致 这座桥很长 河水流向大海 图书馆很安静 早晨的市场很热闹 \
    面包和咖啡 山谷里的村庄 总结如下 谢谢 好 是 请 龘靐齉 饕餮 彳亍";

/// Marks that join two Chinese phrases; each binds to the phrase after it.
pub(crate) const CHINESE_JOINTS: &str = "\
    ， ， ， 。 ； ！ 🙂";
