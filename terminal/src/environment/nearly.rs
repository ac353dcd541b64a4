//! Which setting a name was meant for that is none.

/// A name of fewer characters than this may differ in one place only, since many short words are near
/// each other.
const SHORT: usize = 10;

/// The beginnings of names that are somebody else's, also where they come near to one of ours.
const NOT_OURS: &[&str] = &["PG", "RUST_", "CARGO_", "DOCKER_", "LC_"];

/// What a host's network scripts call the router.
const ROUTER: &str = "GATEWAY";

/// The name of which `name` is nearly the same; none if it is like none of them.
pub(super) fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name == ROUTER || NOT_OURS.iter().any(|begin| name.starts_with(begin)) {
        return None;
    }
    let near = |it: &&str| distance(name, it) <= if name.len().min(it.len()) < SHORT { 1 } else { 2 };
    known.filter(near).min_by_key(|it| distance(name, it))
}

/// How many letters must be added, taken away, changed or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            let is_swapped = i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b;
            if is_swapped {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn the_distance_counts_letters() {
        for (one, other, expected) in
            [("A", "A", 0), ("", "AB", 2), ("URL", "ULR", 1), ("PERS", "PER_S", 1), ("KITTEN", "SITTING", 3)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
