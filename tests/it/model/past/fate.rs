//! The moves that nobody decides: backups, their return, clients who repeat themselves, and a gateway
//! that forgets.

use domain::status::PaymentStatus;

use super::{Does, Message, Mode, Model, Past, State, Without, Worker};

impl Model {
    /// What happens to databases, clients and the gateway's memory.
    pub(super) fn fate(&self, state: &State, next: &mut Vec<State>) {
        if self.mode == Mode::Mixed {
            return;
        }
        if state.kept.is_none() {
            // A backup of now, or of before the request.
            for kept in [state.rows[0].clone(), None] {
                next.push(State { kept: Some(kept), ..state.clone() });
            }
        }
        if let (Past::NotYet, Some(kept)) = (state.past, &state.kept) {
            let mut replaced = state.clone();
            replaced.rows[0].clone_from(kept);
            replaced.past = Past::Replaced;
            next.push(replaced);
            // Nobody runs a server that is a day behind.
            if self.mode == Mode::Split && !state.has_aged {
                let mut split = state.clone();
                split.rows[1].clone_from(kept);
                split.past = Past::Split;
                next.push(split);
            }
        }
        let is_voiding = state.workers.iter().any(|worker| worker.does == Does::Voiding)
            || state.net.iter().any(|message| matches!(message, Message::Void { .. }));
        // The command waits until what was sent has arrived or never will. Charges may be later still: their
        // key stands for them.
        if state.past == Past::Replaced && !is_voiding {
            next.push(self.restored(state));
        }
        let opened = [(0, Past::Restored), (0, Past::Split), (1, Past::Split)];
        for (d, _) in opened.into_iter().filter(|(_, past)| *past == state.past) {
            if state.rows[d].is_none() {
                for is_other_amount in [false, true] {
                    let mut repeated = state.clone();
                    let key = usize::from(self.accepted(1, false, false).key);
                    let looks_first = state.orphans[key] && self.without != Without::Orphans;
                    repeated.rows[d] = Some(self.accepted(1, is_other_amount, looks_first));
                    next.push(repeated);
                }
            }
            next.extend(self.released(state, d));
        }
        let is_quiet = |worker: &Worker| !matches!(worker.does, Does::Charging | Does::AwaitingCharge);
        let on_its_way = state.net.iter().any(|message| matches!(message, Message::Charge { .. }));
        // Long after everything that was sent. Nobody runs two databases for that long without noticing.
        let may_age = !state.has_aged && state.past != Past::Split && self.mode != Mode::NoBooks;
        if may_age && state.workers.iter().all(is_quiet) && !on_its_way {
            let mut aged = state.clone();
            aged.has_aged = true;
            aged.keys.iter_mut().for_each(|key| key.is_forgotten = true);
            if state.past == Past::Restored {
                // Reconciliation has found what arrived after the books were read.
                aged.orphans = unknown(&aged);
            }
            for row in aged.rows.iter_mut().flatten().chain(aged.kept.iter_mut().flatten()) {
                (row.is_old, row.was_sent_long_ago) = (true, row.was_sent);
            }
            next.push(aged);
        }
    }

    /// `payonce restored`: the gateway's books are read, and a payment under way is to be looked at first.
    fn restored(&self, state: &State) -> State {
        let mut restored = state.clone();
        restored.past = Past::Restored;
        restored.came_late = state.workers.iter().any(|worker| worker.does == Does::Charging)
            || state.net.iter().any(|message| matches!(message, Message::Charge { .. }));
        if self.mode != Mode::NoBooks {
            restored.orphans = unknown(&restored);
        }
        // Without the guard it stays as the backup had it.
        let looks_first = self.without != Without::LookingFirst;
        if let Some(row) = restored.rows[0].as_mut().filter(|row| looks_first && !row.status.is_terminal()) {
            row.status = PaymentStatus::Processing;
            row.token = 0;
            // It was sent when it was accepted, at the latest.
            (row.was_sent, row.was_sent_long_ago) = (true, row.is_old);
            (row.in_doubt, row.looks_first) = (true, true);
            row.not_found_count = 0;
        }
        restored
    }

    /// A person gives the payment back to the machine.
    fn released(&self, state: &State, d: usize) -> Option<State> {
        let mut released = state.clone();
        let row = released.rows[d].as_mut().filter(|row| row.held.is_some() && !state.was_released)?;
        row.held = None;
        row.looks_first &= state.orphans[usize::from(row.key)];
        released.was_released = true;
        Some(released)
    }
}

/// Keys under which a charge stands that belongs to no payment, and that none adopted.
fn unknown(state: &State) -> [bool; 2] {
    let row = state.rows[0].as_ref();
    let is_known = |id: u8| row.is_some_and(|row| row.id == id || row.status == PaymentStatus::Succeeded);
    [0, 1].map(|key| state.keys[key].standing.iter().any(|(id, _)| !is_known(*id)))
}
