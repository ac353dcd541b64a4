//! The gateway's moves: it charges once under a key, for as long as it remembers the key, and never under a
//! closed one. And what must hold between it and our books.

use domain::status::PaymentStatus;

use super::{Answer, Key, Message, Past, State};

/// A message reaches the gateway.
pub(super) fn arrive(mut state: State, message: Message) -> Option<State> {
    let answer = match message {
        Message::Charge { token, key, id, is_other_amount } => {
            let key = &mut state.keys[usize::from(key)];
            let stored = key.standing.first().copied().filter(|_| !key.is_forgotten);
            let answer = match stored {
                _ if key.is_closed => Answer::Closed,
                Some((_, is_other)) if is_other != is_other_amount => Answer::Reused,
                Some((id, _)) => Answer::Charged { id },
                None => {
                    key.standing.push((id, is_other_amount));
                    key.is_forgotten = false;
                    Answer::Charged { id }
                }
            };
            Message::Answer { token, answer }
        }
        Message::Void { token, key, id } => {
            let key = &mut state.keys[usize::from(key)];
            state.voided_anothers |= key.standing.iter().any(|(named, _)| *named != id);
            key.was_voided |= !key.standing.is_empty();
            key.standing.clear();
            key.is_closed = true;
            Message::Voided { token }
        }
        Message::Answer { .. } | Message::Voided { .. } => return None,
    };
    state.net.push(answer);
    state.net.sort_unstable();
    Some(state)
}

/// What is wrong with a state, for ever.
pub(super) fn violation(state: &State) -> Option<&'static str> {
    let standing = |key: &Key| key.standing.len();
    if state.keys.iter().map(standing).sum::<usize>() > 1 {
        return Some("charged twice");
    }
    // Two databases that both go on disagree about the rest.
    if state.past == Past::Split {
        return None;
    }
    if state.voided_anothers && !state.came_late {
        return Some("a void took along what another payment was charged");
    }
    let row = state.rows[0].as_ref()?;
    let own = |(id, is_other): &(u8, bool)| *id == row.id && *is_other == row.is_other_amount;
    let key = &state.keys[usize::from(row.key)];
    match row.status {
        PaymentStatus::Succeeded if key.standing.is_empty() => Some("succeeded, and nothing stands"),
        PaymentStatus::Failed | PaymentStatus::Reversed if key.standing.iter().any(own) => {
            Some("ended, and charged")
        }
        PaymentStatus::Pending
        | PaymentStatus::Processing
        | PaymentStatus::Succeeded
        | PaymentStatus::Failed
        | PaymentStatus::Reversed
        | PaymentStatus::InReview => None,
    }
}
