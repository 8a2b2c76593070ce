//! How a refusal reads in each wire family's own error format.

use http::StatusCode;
use permille_types::{Family, RequestId};
use serde_json::{Value, json};

use super::Refusal;

impl Refusal {
    /// The refusal of request `id` as the body of an error of `family`.
    pub(super) fn body(&self, family: Family, id: RequestId) -> Value {
        let (message, code) = (self.to_string(), self.code());
        match family {
            Family::Anthropic => self.anthropic(),
            Family::Gemini => self.gemini(),
            Family::QianfanV1 => self.qianfan_v1(),
            // Source: Huawei Pangu, "Error codes".
            Family::Pangu => json!({
                "error_code": code, "error_msg": message, "retryable": self.is_retryable(),
            }),
            // Source: Alibaba Model Studio, "Error messages".
            Family::Dashscope => json!({
                "code": code, "message": message, "request_id": id.to_string(),
                "retryable": self.is_retryable(),
            }),
            // Source: Tencent Cloud API 3.0, "Response structure".
            Family::Hunyuan => json!({ "Response": {
                "Error": { "Code": code, "Message": message }, "RequestId": id.to_string(),
            }}),
            // Source: Ollama API, "Errors"; Text Generation Inference API, `ErrorResponse`.
            Family::Ollama | Family::Tgi => json!({
                "error": message, "error_type": code, "retryable": self.is_retryable(),
            }),
            _ => self.openai(),
        }
    }

    /// Source: Baidu Qianfan documentation, "Error codes" and, for `error`, "Access token".
    fn qianfan_v1(&self) -> Value {
        let (number, name) = match self.status() {
            StatusCode::UNAUTHORIZED => (110, "invalid_client"),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => (3, "invalid_request"),
            StatusCode::TOO_MANY_REQUESTS => (336_501, "temporarily_unavailable"),
            status if status.is_server_error() => (336_100, "temporarily_unavailable"),
            _ => (336_003, "invalid_request"),
        };
        let message = self.to_string();
        json!({
            "error_code": number, "error_msg": message, "code": self.code(),
            "error": name, "error_description": message, "retryable": self.is_retryable(),
        })
    }

    /// Source: `OpenAI` API reference, "Error codes": `{"error":{message,type,param,code}}`.
    fn openai(&self) -> Value {
        let kind = match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "requests",
            StatusCode::PAYMENT_REQUIRED => "insufficient_quota",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": {
            "message": self.to_string(), "type": kind, "param": null, "code": self.code(),
            "retryable": self.is_retryable(),
        }})
    }

    /// Source: Anthropic API reference, "Errors": `{"type":"error","error":{type,message}}`.
    fn anthropic(&self) -> Value {
        let kind = match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::PAYMENT_REQUIRED => "billing_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        };
        json!({ "type": "error", "error": {
            "type": kind, "message": self.to_string(), "code": self.code(),
            "retryable": self.is_retryable(),
        }})
    }

    /// Source: Google AIP-193, "Errors", with our code as the `reason` of an `ErrorInfo`.
    fn gemini(&self) -> Value {
        let status = self.status();
        let name = match status {
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            StatusCode::PAYMENT_REQUIRED => "FAILED_PRECONDITION",
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::METHOD_NOT_ALLOWED => "UNIMPLEMENTED",
            StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "DEADLINE_EXCEEDED",
            status if status.is_server_error() => "UNAVAILABLE",
            _ => "INVALID_ARGUMENT",
        };
        json!({ "error": {
            "code": status.as_u16(), "message": self.to_string(), "status": name,
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": self.code(),
                "domain": "permille", "metadata": { "retryable": self.is_retryable().to_string() },
            }],
        }})
    }
}
