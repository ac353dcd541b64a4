//! Prometheus' text format, read as strictly as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use crate::Process;
use crate::client::send;

type Labels = BTreeMap<String, String>;

/// One line with a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` for a histogram.
    pub name: String,
    /// The labels in braces, name and value.
    pub labels: Labels,
    /// The number at the end of the line.
    pub value: f64,
}

/// All that a process shows at one moment.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// The kind of each metric, by the metric's name.
    pub kinds: BTreeMap<String, String>,
    /// The names of metrics that have an explanation (`# HELP`).
    pub explained: BTreeSet<String>,
    /// All lines with numbers, in their order.
    pub samples: Vec<Sample>,
}

impl Scrape {
    /// The metrics of a process now: an API shows them on its main listener, a worker on its own.
    pub async fn of(process: &Process) -> Self {
        let listener = if process.ready()["metrics"].is_string() { "metrics" } else { "api" };
        let url = format!("{}/metrics", process.address(listener));
        let answer = send(reqwest::Client::new().get(url)).await;
        answer.assert_status(200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(std::str::from_utf8(&answer.body).expect("UTF-8"))
    }

    /// Reads the text; a text that Prometheus would refuse fails the test.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                scrape.explained.insert(help.split(' ').next().unwrap_or_default().to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a kind");
                let twice = scrape.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} is declared twice");
            } else {
                let sample = sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}"));
                assert!(scrape.family(&sample.name).is_some(), "{line:?} stands before its # TYPE");
                scrape.samples.push(sample);
            }
        }
        scrape.assert_histograms_add_up();
        scrape
    }

    /// The sum of the samples of that name that have these labels; 0 where there are none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        self.samples.iter().filter(|sample| sample.name == name).filter(has).map(|sample| sample.value).sum()
    }

    /// The values that a label has in all samples.
    #[must_use]
    pub fn values_of(&self, label: &str) -> BTreeSet<String> {
        self.samples.iter().filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// The declared metric that a sample belongs to.
    fn family<'a>(&self, sample: &'a str) -> Option<&'a str> {
        let suffixes = ["_bucket", "_sum", "_count"];
        let histogram = suffixes.iter().find_map(|suffix| sample.strip_suffix(suffix));
        let is_histogram = |name: &&str| self.kinds.get(*name).is_some_and(|kind| kind == "histogram");
        histogram.filter(is_histogram).or_else(|| self.kinds.contains_key(sample).then_some(sample))
    }

    fn assert_histograms_add_up(&self) {
        let mut histograms: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            let name = sample.name.trim_end_matches("_bucket").to_owned();
            let bound = bound.parse().expect("a bound is a number");
            histograms.entry((name, labels)).or_default().push((bound, sample.value));
        }
        for ((name, labels), buckets) in histograms {
            let pairs: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let grows = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            assert!(grows, "{name} {labels:?}: {buckets:?}");
            let last = buckets.last().copied();
            assert_eq!(last, Some((f64::INFINITY, self.sum(&format!("{name}_count"), &pairs))), "{name}");
        }
    }
}

/// Reads a line `name{label="value",…} number`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, rest) = line.split_at(end);
    let (labels, number) = match rest.strip_prefix('{') {
        Some(labelled) => labels(labelled)?,
        None => (BTreeMap::new(), rest),
    };
    let value = number.strip_prefix(' ')?.parse().ok()?;
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(Labels, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (label, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    escaped => escaped,
                }),
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(label.to_owned(), value);
        text = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_quotes_and_commas_are_read() {
        let read = sample(r#"a_total{x="1,\"2\"\\",y="}"} 3"#).unwrap();
        assert_eq!(read.labels["x"], r#"1,"2"\"#);
        assert_eq!((read.labels["y"].as_str(), read.value), ("}", 3.0));
    }

    #[test]
    fn what_is_no_sample_is_none() {
        for line in ["a", "a{x=1} 2", "a{x=\"1\" 2", "{} 1", "a one"] {
            assert_eq!(sample(line), None, "{line}");
        }
    }
}
