//! The API's own histogram of how long it took to answer, read from Prometheus' text format.

/// How many answers took how long.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Upper bounds in seconds, ascending, and how many answers did not take longer.
    buckets: Vec<(f64, f64)>,
    sum: f64,
    count: f64,
}

impl Histogram {
    /// The histogram of all posted payments that the metrics in `text` know of.
    pub(crate) fn of_posts(text: &str) -> Self {
        let mut histogram = Self::default();
        let labels = "{method=\"POST\",route=\"/v1/payments\"";
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("payonce_http_request_duration_seconds_") else { continue };
            let Some((kind, rest)) = rest.split_once(labels) else { continue };
            let Some((bound, value)) = rest.split_once("} ") else { continue };
            let Ok(value) = value.parse() else { continue };
            match kind {
                "sum" => histogram.sum = value,
                "count" => histogram.count = value,
                _ => {
                    let bound = bound.trim_start_matches(",le=\"").trim_end_matches('"');
                    histogram.buckets.extend(bound.parse().ok().map(|bound: f64| (bound, value)));
                }
            }
        }
        histogram
    }

    /// The answers that came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |at: usize| earlier.buckets.get(at).map_or(0.0, |&(_, count)| count);
        let buckets =
            self.buckets.iter().enumerate().map(|(at, &(bound, count))| (bound, count - before(at)));
        Self { buckets: buckets.collect(), sum: self.sum - earlier.sum, count: self.count - earlier.count }
    }

    /// The median, as if answers were spread evenly within a bucket. None without answers.
    pub(crate) fn p50_ms(&self) -> Option<f64> {
        let half = self.count / 2.0;
        let at = self.buckets.iter().position(|&(_, count)| count >= half && count > 0.0)?;
        let (bound, count) = *self.buckets.get(at)?;
        let (lower, below) = at.checked_sub(1).map_or((0.0, 0.0), |at| self.buckets[at]);
        // Beyond the last bound nothing is known.
        let upper = if bound.is_finite() { bound } else { lower };
        Some((lower + (upper - lower) * (half - below) / (count - below)) * 1000.0)
    }

    /// The mean, which is exact. None without answers.
    pub(crate) fn mean_ms(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE payonce_http_request_duration_seconds histogram
payonce_http_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/payments\",le=\"0.001\"} 9
payonce_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/payments\",le=\"0.001\"} 10
payonce_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/payments\",le=\"0.002\"} 30
payonce_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/payments\",le=\"+Inf\"} 30
payonce_http_request_duration_seconds_sum{method=\"POST\",route=\"/v1/payments\"} 0.06
payonce_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/payments\"} 30
";

    #[test]
    fn the_median_of_posted_payments_lies_within_its_bucket() {
        let all = Histogram::of_posts(TEXT);

        assert_eq!((all.p50_ms(), all.mean_ms()), (Some(1.25), Some(2.0)));
    }

    #[test]
    fn what_was_counted_before_does_not_count() {
        let all = Histogram::of_posts(TEXT);
        let none = all.since(&all);

        assert_eq!((none.p50_ms(), none.mean_ms()), (None, None));
        assert_eq!(all.since(&Histogram::default()), all);
    }
}
