//! An OpenTelemetry collector that keeps what it is sent: both protocols of OTLP on one port, read
//! by the messages that OpenTelemetry publishes.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::{Buf as _, Bytes};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{HistogramDataPoint, NumberDataPoint, metric},
    resource::v1::Resource,
    trace::v1::Span,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;

/// What the collector does with an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    Takes,
    /// Refuses it, not to be tried again.
    Refuses,
    /// Never answers.
    Hangs,
}

/// What came in.
#[derive(Default)]
pub struct Taken {
    pub exports: Vec<(String, HeaderMap)>,
    pub spans: Vec<(Resource, Span)>,
    /// The last value of each histogram: its name, unit and points.
    pub histograms: Vec<(String, String, Vec<HistogramDataPoint>)>,
    /// The same of each counter.
    pub counters: Vec<(String, String, Vec<NumberDataPoint>)>,
}

/// See the module's text.
pub struct Collector {
    pub address: SocketAddr,
    pub taken: Arc<Mutex<Taken>>,
    pub mood: Arc<Mutex<Mood>>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::new(Taken::default()));
        let mood = Arc::new(Mutex::new(Mood::Takes));
        let (keeps, moods) = (Arc::clone(&taken), Arc::clone(&mood));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (taken, mood) = (Arc::clone(&keeps), Arc::clone(&moods));
                let service = hyper::service::service_fn(move |request| {
                    let (taken, mood) = (Arc::clone(&taken), *mood.lock());
                    async move { Ok::<_, Infallible>(answer(request, &taken, mood).await) }
                });
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(socket), service).await);
                });
            }
        });
        Self { address, taken, mood }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, taken: &Mutex<Taken>, mood: Mood) -> Answer {
    if mood == Mood::Hangs {
        std::future::pending::<()>().await;
    }
    let (head, body) = request.into_parts();
    let mut body = body.collect().await.unwrap().to_bytes();
    let is_grpc = head.headers["content-type"] == "application/grpc";
    if is_grpc {
        // One message, not compressed, and its length.
        assert_eq!((body.get_u8(), body.get_u32() as usize), (0, body.len()));
    } else {
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
    }
    if mood == Mood::Takes {
        let mut taken = taken.lock();
        taken.exports.push((head.uri.path().to_owned(), head.headers));
        match head.uri.path() {
            "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                spans(ExportTraceServiceRequest::decode(body).unwrap(), &mut taken);
            }
            "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                metrics(ExportMetricsServiceRequest::decode(body).unwrap(), &mut taken);
            }
            other => panic!("no path of OTLP: {other}"),
        }
    }
    let code = if mood == Mood::Takes { "0" } else { "3" };
    if is_grpc {
        let message = Frame::data(Bytes::from_static(&[0; 5]));
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static(code),
        )]);
        let frames = stream::iter([Ok(message), Ok(Frame::trailers(trailers))]);
        let body = StreamBody::new(frames);
        let reply = Response::builder().header("content-type", "application/grpc");
        return reply.body(body.boxed()).unwrap();
    }
    let status = if mood == Mood::Takes { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Response::builder().status(status).body(Full::new(Bytes::new()).boxed()).unwrap()
}

fn spans(request: ExportTraceServiceRequest, taken: &mut Taken) {
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap();
        for scope in of_resource.scope_spans {
            let with = |span| (resource.clone(), span);
            taken.spans.extend(scope.spans.into_iter().map(with));
        }
    }
}

fn metrics(request: ExportMetricsServiceRequest, taken: &mut Taken) {
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    for metric in scopes.flat_map(|scope| scope.metrics) {
        match metric.data {
            Some(metric::Data::Histogram(histogram)) => {
                taken.histograms.retain(|(name, ..)| *name != metric.name);
                taken.histograms.push((metric.name, metric.unit, histogram.data_points));
            }
            Some(metric::Data::Sum(sum)) => {
                assert!(sum.is_monotonic, "{}", metric.name);
                taken.counters.retain(|(name, ..)| *name != metric.name);
                taken.counters.push((metric.name, metric.unit, sum.data_points));
            }
            other => panic!("{} is {other:?}", metric.name),
        }
    }
}

/// The text of an attribute, whatever its type; absent when there is none.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}
