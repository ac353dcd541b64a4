//! The pages of lists: how long one is, where it begins, and the cursor by which the next one is asked for.
//!
//! A cursor names the entry after which a page begins, so entries that arrive meanwhile move nothing. It has
//! a check of the list that it is of. A cursor that was made up is a fault, and so is one of another list, of
//! another merchant or with other filters. A cursor opens nothing: a list shows what its caller may see.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::{AccountId, DisputeId, EndpointId, OperationId, PaymentId, ReturnId};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::fault::{Fault, Kind};
use crate::query::Params;
use crate::render::{self, ListView};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;

/// The bytes of a cursor: the number of an entry, and the check.
const NUMBER_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;

/// What names an entry of a list.
pub(crate) trait Place: Copy {
    /// What `starting_after` must be.
    const WANTS: &'static str;

    fn parse(text: &str) -> Option<Self>;

    /// The place as a number, for a cursor.
    fn number(self) -> u128;

    fn of_number(number: u128) -> Option<Self>;
}

macro_rules! place_by_id {
    ($id:ty, $wants:literal) => {
        impl Place for $id {
            const WANTS: &'static str = $wants;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn number(self) -> u128 {
                self.uuid().as_u128()
            }

            fn of_number(number: u128) -> Option<Self> {
                Some(Uuid::from_u128(number).into())
            }
        }
    };
}

place_by_id!(PaymentId, "the id of a payment: pay_ and 32 lower-case hex digits");
place_by_id!(OperationId, "the id of a refund: re_ and 32 lower-case hex digits");
place_by_id!(ReturnId, "the id of a return: ret_ and 32 lower-case hex digits");
place_by_id!(DisputeId, "the id of a dispute: dsp_ and 32 lower-case hex digits");
place_by_id!(AccountId, "the id of an account: acc_ and 32 lower-case hex digits");
place_by_id!(EndpointId, "the id of an endpoint: whe_ and 32 lower-case hex digits");

/// The id of what operators see.
impl Place for i64 {
    const WANTS: &'static str = "the id of an entry of this list, a whole number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn number(self) -> u128 {
        u128::from(self.cast_unsigned())
    }

    fn of_number(number: u128) -> Option<Self> {
        u64::try_from(number).ok().map(u64::cast_signed)
    }
}

/// The version of an event.
impl Place for i32 {
    const WANTS: &'static str = "the version of an event, a whole number from 0";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|version| *version >= 0)
    }

    fn number(self) -> u128 {
        u128::from(self.cast_unsigned())
    }

    fn of_number(number: u128) -> Option<Self> {
        u32::try_from(number).ok().map(u32::cast_signed)
    }
}

/// The page of a list that a request asks for.
pub(crate) struct Pages<P> {
    /// The most entries of the page.
    rows: usize,
    /// The entry after which it begins; none at the beginning.
    pub(crate) after: Option<P>,
    /// What names the list in the check of its cursors: the same for every page, and for no other list.
    list: Value,
}

impl<P: Place> Pages<P> {
    /// Reads `limit`, `starting_after` and `cursor`. `list` is what tells this list from all others, with its
    /// filters. Without `limit` a page has `rows` entries.
    fn read(params: &mut Params, list: Value, rows: usize) -> Self {
        let wants = format!("a whole number from 1 to {LIMIT_MAX}");
        let limit = params
            .parsed("limit", &wants, |text| text.parse().ok().filter(|rows| (1..=LIMIT_MAX).contains(rows)));
        let starting_after = params.parsed("starting_after", P::WANTS, P::parse);
        let wants = "the next_cursor of a page of this list, sent with the filters of that page";
        let cursor = params.parsed("cursor", wants, |cursor| place(cursor, &list));
        if starting_after.is_some() && cursor.is_some() {
            let detail = "cursor and starting_after both say where a page begins; send one of them";
            params.refuse(Fault::query("cursor", Kind::Invalid, detail));
        }
        Self { rows: limit.unwrap_or(rows), after: cursor.or(starting_after), list }
    }

    /// Of a list with pages of ten entries.
    pub(crate) fn of(params: &mut Params, list: Value) -> Self {
        Self::read(params, list, LIMIT_DEFAULT)
    }

    /// Of a list that is shown whole, unless the request says how long a page is.
    pub(crate) fn of_whole(params: &mut Params, list: Value) -> Self {
        Self::read(params, list, usize::MAX)
    }

    /// The most entries of the page, for SQL.
    pub(crate) fn limit(&self) -> i64 {
        i64::try_from(self.rows).unwrap_or(i64::MAX)
    }

    /// One entry more than the page has: it tells whether there are more.
    pub(crate) fn one_more(&self) -> i64 {
        self.limit().saturating_add(1)
    }

    /// The page, of entries found by [`Self::one_more`].
    pub(crate) fn page<'a, T, V>(
        &self,
        found: &'a [T],
        place: impl Fn(&T) -> P,
        view: impl Fn(&'a T) -> V,
    ) -> ListView<V> {
        let last = self.rows.checked_sub(1).and_then(|last| found.get(last));
        let next = last.filter(|_| found.len() > self.rows).map(place);
        self.view(found.iter().take(self.rows).map(view).collect(), next)
    }

    /// The page, and the place after which the next one begins; none if this is the last one.
    pub(crate) fn view<V>(&self, data: Vec<V>, next: Option<P>) -> ListView<V> {
        render::list(data, next.map(|next| cursor(next, &self.list)))
    }
}

/// The cursor of the page after this place.
fn cursor(place: impl Place, list: &Value) -> String {
    let number = place.number().to_be_bytes();
    URL_SAFE_NO_PAD.encode([&number[..], &check(&number, list)].concat())
}

/// The place that a cursor of this list names. None if it is no cursor, or one of another list.
fn place<P: Place>(cursor: &str, list: &Value) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (number, found) = bytes.split_first_chunk::<NUMBER_BYTES>()?;
    let is_of_list = found == check(number, list);
    P::of_number(u128::from_be_bytes(*number)).filter(|_| is_of_list)
}

fn check(number: &[u8; NUMBER_BYTES], list: &Value) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new_with_prefix(list.to_string()).chain_update(number).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place_in_its_own_list_and_in_no_other() {
        let list = json!(["payments", "a", null]);
        let id = PaymentId::generate();
        let sent = cursor(id, &list);
        assert_eq!(place::<PaymentId>(&sent, &list), Some(id));
        for other in [json!(["payments", "b", null]), json!(["payments", "a", "EUR"]), json!([])] {
            assert_eq!(place::<PaymentId>(&sent, &other), None, "{other}");
        }
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(place::<i64>(&cursor(number, &list), &list), Some(number));
        }
        for version in [i32::MIN, -1, 0, i32::MAX] {
            assert_eq!(place::<i32>(&cursor(version, &list), &list), Some(version));
        }
    }

    #[test]
    fn what_is_no_cursor_names_no_place() {
        let list = json!("payments");
        let sent = cursor(7_i64, &list);
        let bytes = URL_SAFE_NO_PAD.decode(&sent).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(place::<i64>(&URL_SAFE_NO_PAD.encode(other), &list), None, "byte {at}");
        }
        for made_up in ["", "next", &sent[1..], &format!("{sent}A"), &format!("{sent}="), "ä", "7"] {
            assert_eq!(place::<i64>(made_up, &list), None, "{made_up}");
        }
    }
}
