//! The optional rate limit, `--kube-api-qps` and `--kube-api-burst`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Request;
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service, ServiceExt};

/// A token bucket, as client-go has it: `burst` requests at once, `qps` per second over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// Requests per second.
    pub qps: NonZeroU32,
    /// Requests that may go out at once after a pause.
    pub burst: NonZeroU32,
}

/// Makes mutating requests wait for a token. Reads and watches pass: holding them up would only make the operator act
/// on older data.
#[derive(Clone, Debug)]
pub(super) struct Limited<S> {
    inner: S,
    bucket: Option<Arc<Bucket>>,
}

impl<S> Limited<S> {
    pub(super) fn new(inner: S, limit: Option<RateLimit>) -> Self {
        Self {
            inner,
            bucket: limit.map(|limit| Arc::new(Bucket::full(limit))),
        }
    }
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    /// Always ready: a place below is only taken once it is this request's turn.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        let bucket = self.bucket.clone().filter(|_| !request.method().is_safe());
        Box::pin(async move {
            if let Some(bucket) = bucket {
                bucket.take().await;
            }
            inner.oneshot(request).await
        })
    }
}

#[derive(Debug)]
struct Bucket {
    /// Time in which one token arrives.
    interval: Duration,
    /// Time in which the empty bucket fills.
    capacity: Duration,
    /// When the bucket will be full if no more is taken.
    full_at: Mutex<Instant>,
}

impl Bucket {
    fn full(limit: RateLimit) -> Self {
        let interval = Duration::from_secs(1) / limit.qps.get();
        Self {
            interval,
            capacity: interval * limit.burst.get(),
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a token, in the order of arrival. A caller who gives up takes none.
    async fn take(&self) {
        let mut full_at = self.full_at.lock().await;
        let missing = full_at.saturating_duration_since(Instant::now()) + self.interval;
        sleep(missing.saturating_sub(self.capacity)).await;
        *full_at = (*full_at).max(Instant::now()) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(qps: u32, burst: u32) -> Bucket {
        Bucket::full(RateLimit {
            qps: NonZeroU32::new(qps).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    async fn times(bucket: &Bucket, tokens: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..tokens {
            bucket.take().await;
            times.push(start.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_out_at_once_and_the_rest_at_the_sustained_rate() {
        assert_eq!(times(&bucket(10, 3), 6).await, [0, 0, 0, 100, 200, 300]);
        assert_eq!(times(&bucket(10, 1), 3).await, [0, 100, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_fills_the_bucket_up_to_the_burst_and_no_further() {
        let bucket = bucket(10, 3);
        times(&bucket, 3).await;
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(times(&bucket, 3).await, [0, 0, 100]);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(times(&bucket, 5).await, [0, 0, 0, 100, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_no_token() {
        let bucket = bucket(1, 1);
        bucket.take().await;
        for _ in 0..5 {
            let waited = tokio::time::timeout(Duration::from_millis(100), bucket.take()).await;
            assert!(waited.is_err());
        }
        assert_eq!(times(&bucket, 1).await, [500]);
    }
}
