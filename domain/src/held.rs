//! What a person may decide about a held payment, given what a look at the gateway shows. Pure.
//!
//! Invariant: an end needs evidence that the gateway keeps under our key, or that nothing was ever in doubt.
//! Whatever is not clear leads to a void. An end without proof is marked so. It is possible only where the
//! gateway is silent, cannot look up, or shows nothing and cannot void.

use crate::outcome::{
    Charge, ChargeStatus, Expected, Failed, FailureKind, Listing, Looked, Outcome, Whose, is_storable,
};
use crate::words;

/// The charge that stands, as a look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// As the gateway has it.
    pub charge: Charge,
    /// Whether it is called by the id of another payment that is not known here. The database says so, and
    /// not the gateway.
    pub is_forgotten: bool,
}

impl Shown {
    /// Whose charge it is, by its reference.
    #[must_use]
    pub fn whose(&self, expected: &Expected) -> Whose {
        self.charge.whose(expected)
    }
}

/// The result of one look at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// One charge stands under our key.
    One(Shown),
    /// Several charges stand; the number says how many.
    Several(usize),
    /// A charge is not decided, has an unknown status, another key or no usable id, or the list goes on.
    Undecided,
    /// No charge stands. Something was charged, and was voided or refunded.
    GivenBack,
    /// No charge stands; the gateway stored a decline.
    Declined,
    /// The gateway knows of no charge.
    Nothing,
    /// The gateway is declared not to look up.
    Unable,
    /// No answer came, or the gateway failed; the text says how.
    Silent(Failed),
    /// It answered, and did not let us look: our credentials, too many requests, or something that is no
    /// gateway. That is no silence.
    Refused(Failed),
    /// We did not look.
    NotLooked,
}

impl Outcome for Seen {
    const WORDS: &'static [&'static str] = &[
        "one",
        "several",
        "undecided",
        "given_back",
        "declined",
        "nothing",
        "unable",
        "silent",
        "refused",
        "not_looked",
    ];

    fn as_str(&self) -> &'static str {
        match self {
            Self::One(_) => "one",
            Self::Several(_) => "several",
            Self::Undecided => "undecided",
            Self::GivenBack => "given_back",
            Self::Declined => "declined",
            Self::Nothing => "nothing",
            Self::Unable => "unable",
            Self::Silent(_) => "silent",
            Self::Refused(_) => "refused",
            Self::NotLooked => "not_looked",
        }
    }

    fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::Silent(failed) | Self::Refused(failed) => Some(failed.kind),
            Self::NotLooked => Some(FailureKind::NotSent),
            Self::One(_)
            | Self::Several(_)
            | Self::Undecided
            | Self::GivenBack
            | Self::Declined
            | Self::Nothing
            | Self::Unable => None,
        }
    }
}

impl Seen {
    /// Judges what a lookup showed.
    #[must_use]
    pub fn of(looked: &Looked, expected: &Expected) -> Self {
        let failed = match looked {
            Looked::Shown(listing) if listing.has_more => return Self::Undecided,
            Looked::Shown(listing) => return Self::among(listing, expected),
            // It was declared to look up, and says that it does not: whether it will is not known.
            Looked::Unsupported => {
                let why = "it says that it does not look up";
                return Self::Silent(Failed::new(FailureKind::Unexpected, why));
            }
            Looked::NoAnswer(failed) => failed.clone(),
        };
        match (failed.kind, failed.status) {
            (FailureKind::NotSent | FailureKind::WorkerLost, _) => Self::NotLooked,
            (FailureKind::Timeout | FailureKind::Reset | FailureKind::Unreachable, _)
            | (_, Some(405 | 500..)) => Self::Silent(failed),
            (
                FailureKind::NotTheGateway
                | FailureKind::Unauthorized
                | FailureKind::RateLimited
                | FailureKind::Unexpected
                | FailureKind::ServerError
                | FailureKind::NotExecuted,
                _,
            ) => Self::Refused(failed),
        }
    }

    /// A charge under another key is no evidence about this one: it is as unclear as a status that we do not
    /// know.
    fn among(listing: &Listing, expected: &Expected) -> Self {
        let is_clear = |charge: &Charge| {
            let is_decided = match charge.status {
                ChargeStatus::Succeeded
                | ChargeStatus::Failed
                | ChargeStatus::Voided
                | ChargeStatus::Refunded => true,
                ChargeStatus::Pending | ChargeStatus::Other => false,
            };
            is_decided && charge.is_under(expected) && is_storable(&charge.id)
        };
        let charges = &listing.charges;
        if !charges.iter().all(is_clear) {
            return Self::Undecided;
        }
        let standing: Vec<&Charge> =
            charges.iter().filter(|charge| charge.status == ChargeStatus::Succeeded).collect();
        match standing.as_slice() {
            [] if charges.is_empty() => Self::Nothing,
            [] if charges.iter().all(|charge| charge.status == ChargeStatus::Failed) => Self::Declined,
            [] => Self::GivenBack,
            [one] => Self::One(Shown { charge: (*one).clone(), is_forgotten: false }),
            many => Self::Several(many.len()),
        }
    }

    /// Whether the one charge that stands is another payment's: a known payment's, or one of other money than
    /// is owed.
    fn is_anothers(&self, expected: &Expected) -> bool {
        let Self::One(charge) = self else { return false };
        matches!(charge.whose(expected), Whose::Another(_)) && self.exactly(expected).is_none()
    }

    /// The charge that stands, if it is exactly this payment's, or of one that is forgotten here.
    fn exactly(&self, expected: &Expected) -> Option<&Charge> {
        let Self::One(shown) = self else { return None };
        let is_ours = shown.is_forgotten || shown.whose(expected) == Whose::Ours;
        (is_ours && shown.charge.is_as_owed(expected)).then_some(&shown.charge)
    }

    /// Whether the gateway told nothing, and will not be made to.
    const fn is_dark(&self) -> bool {
        matches!(self, Self::Unable | Self::Silent(_))
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(Shown { charge, .. }) => {
                write!(
                    f,
                    "the gateway shows the charge {} of {} {}",
                    charge.id, charge.amount, charge.currency
                )
            }
            Self::Several(many) => write!(f, "the gateway shows {many} charges that stand"),
            Self::Undecided => f.write_str("the gateway shows a charge that is not decided, or not ours"),
            Self::GivenBack => f.write_str("the gateway shows that what was charged was given back"),
            Self::Declined => f.write_str("the gateway shows that it declined the charge"),
            Self::Nothing => f.write_str("the gateway shows no charge"),
            Self::Unable => f.write_str("the gateway does not look up"),
            Self::Silent(why) => write!(f, "the gateway is silent ({why})"),
            Self::Refused(failed) => write!(f, "the gateway did not let us look ({failed})"),
            Self::NotLooked => f.write_str("nobody looked at the gateway"),
        }
    }
}

/// A person's wish for a held payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To see what the gateway shows now.
    Look,
    /// To let it succeed: the gateway took exactly what is owed.
    Succeed {
        /// The gateway's own id of the charge.
        charge_id: String,
    },
    /// To let it fail: nothing was charged.
    Fail,
    /// To reverse it: what was charged has been given back.
    Reverse,
    /// To void it: whatever was charged is undone, and the key is closed.
    Void,
}

impl Wish {
    /// The word for it in SQL, JSON and forms.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Succeed { .. } => "succeed",
            Self::Fail => "fail",
            Self::Reverse => "reverse",
            Self::Void => "void",
        }
    }

    /// The charge that the person names; none for any wish but a success.
    #[must_use]
    pub fn charge_id(&self) -> Option<&str> {
        match self {
            Self::Succeed { charge_id } => Some(charge_id),
            Self::Look | Self::Fail | Self::Reverse | Self::Void => None,
        }
    }
}

/// The facts about a held payment that decide what is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether no charge can be anywhere: none was sent whose answer is not known.
    pub never_in_doubt: bool,
    /// Whether a void has been asked for.
    pub voiding: bool,
    /// Whether the machine can have it voided: the payment is in doubt, and the gateway can void as far as is
    /// known.
    pub can_void: bool,
    /// Whether one key charges once, so that the gateway stored under it all there is.
    pub honours_keys: bool,
    /// Whether the gateway has told nothing for as long as a doubt may last.
    pub was_dark: bool,
}

words! {
    /// An end or a step that may be decided.
    Permit {
        /// The payment succeeds, by the charge that was seen.
        Succeed = "succeed",
        /// The payment fails: nothing was charged.
        Fail = "fail",
        /// The payment is reversed: what was charged was given back.
        Reverse = "reverse",
        /// The payment is voided by the workers.
        Void = "void",
        /// The payment succeeds, without proof.
        SucceedUnproven = "succeed unproven",
        /// The payment fails, without proof.
        FailUnproven = "fail unproven",
        /// The payment is reversed, without proof.
        ReverseUnproven = "reverse unproven",
    }
}

impl Permit {
    /// The permit that a wish needs; none for a mere look.
    const fn needed(wish: &Wish, is_unproven: bool) -> Option<Self> {
        match (wish, is_unproven) {
            (Wish::Look, _) => None,
            (Wish::Void, _) => Some(Self::Void),
            (Wish::Succeed { .. }, false) => Some(Self::Succeed),
            (Wish::Fail, false) => Some(Self::Fail),
            (Wish::Reverse, false) => Some(Self::Reverse),
            (Wish::Succeed { .. }, true) => Some(Self::SucceedUnproven),
            (Wish::Fail, true) => Some(Self::FailUnproven),
            (Wish::Reverse, true) => Some(Self::ReverseUnproven),
        }
    }
}

/// What may be decided after this look.
#[must_use]
pub fn permits(seen: &Seen, expected: &Expected, facts: Facts) -> Vec<Permit> {
    let mut permits = Vec::new();
    match seen {
        // Nothing else is charged under one key, and no void of ours may take the charge along.
        Seen::One(_) if seen.is_anothers(expected) => {
            return if facts.honours_keys { vec![Permit::Fail] } else { permits };
        }
        Seen::One(_) if !facts.voiding && seen.exactly(expected).is_some() => permits.push(Permit::Succeed),
        // Where one key charges twice, another charge may be on its way: that is for a void to end.
        Seen::Declined | Seen::GivenBack if facts.can_void && !facts.honours_keys => {}
        Seen::Declined => return vec![Permit::Fail],
        Seen::GivenBack => return vec![Permit::Reverse],
        Seen::Nothing if facts.never_in_doubt => return vec![Permit::Fail],
        Seen::Refused(_) | Seen::NotLooked => return permits,
        Seen::One(_)
        | Seen::Several(_)
        | Seen::Undecided
        | Seen::Nothing
        | Seen::Unable
        | Seen::Silent(_) => {}
    }
    if facts.can_void {
        permits.push(Permit::Void);
    }
    let is_dark = matches!(seen, Seen::Unable) || (seen.is_dark() && facts.was_dark);
    if is_dark && !facts.voiding {
        permits.push(Permit::SucceedUnproven);
    }
    // Where a void can end the doubt, nothing fails without proof. What cannot be voided is in doubt for
    // ever.
    let is_stuck = is_dark || *seen == Seen::Nothing;
    if is_stuck && !facts.can_void && !facts.voiding {
        permits.push(Permit::FailUnproven);
    }
    if is_dark || (is_stuck && !facts.can_void) {
        permits.push(Permit::ReverseUnproven);
    }
    permits
}

/// Why a wish is refused after this look; none where it is granted.
#[must_use]
pub fn refusal(
    wish: &Wish,
    is_unproven: bool,
    seen: &Seen,
    expected: &Expected,
    facts: Facts,
) -> Option<String> {
    let needed = Permit::needed(wish, is_unproven)?;
    let permits = permits(seen, expected, facts);
    if permits.contains(&needed) {
        // The evidence is what was seen, and not what a person typed.
        let named = wish.charge_id().filter(|_| !is_unproven);
        let is_seen = named.is_none() || seen.exactly(expected).map(|charge| charge.id.as_str()) == named;
        return (!is_seen).then(|| format!("{seen}, and none by the id {}", named.unwrap_or_default()));
    }
    Some(match (permits.as_slice(), seen) {
        (_, Seen::Silent(_)) if is_unproven && !facts.was_dark => {
            format!("{seen}; it must be so for as long as a doubt may last: look again later")
        }
        ([], Seen::Refused(Failed { status: Some(401 | 403), .. })) => {
            format!("{seen}: mend the credentials, then ask again")
        }
        ([], Seen::Refused(_) | Seen::NotLooked) => format!("{seen}: ask again in a moment"),
        ([], Seen::Silent(_)) => format!("{seen}: look again later"),
        ([], _) => format!("{seen}: have that given back there, then ask again, or release it"),
        (permits, _) => {
            let words: Vec<&str> = permits.iter().map(|permit| permit.as_str()).collect();
            let stands = if matches!(seen, Seen::One(_)) && facts.voiding {
                " a void was asked for, so what stands must be given back;"
            } else {
                ""
            };
            format!("{seen};{stands} what may be decided instead: {}, or release", words.join(", "))
        }
    })
}

#[cfg(test)]
mod tests;
