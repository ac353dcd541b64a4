//! The list of metrics is well formed.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_name_is_one_of_a_kind_and_says_its_unit() {
    let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), ALL.len());
    for metric in ALL {
        let ends_well = match metric.kind {
            Kind::Counter => metric.name.ends_with("_total"),
            Kind::Gauge => !metric.name.ends_with("_total"),
            Kind::Histogram => metric.name.ends_with("_seconds"),
        };
        assert!(ends_well, "{metric:?}");
        assert!(metric.help.ends_with('.'), "{metric:?}");
        assert!(metric.name.starts_with("payonce_"), "{metric:?}");
    }
}
