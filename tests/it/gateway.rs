//! The simulated gateway as its callers see it: a real process with a database of its own, asked over HTTP.
//!
//! It judges everybody else, so here it is judged: what it answers, what its journal then says, and that both
//! survive whatever happens to the process. Time is moved, not waited for.

/// How these tests speak to the gateway, and the words in which they read its answers.
mod caller;

/// Every token's answers, and its rows in the journal.
mod script;

/// One key, one charge.
mod key;

/// Undoing a charge, or closing a key before there is one.
mod void;

/// Charges that take effect later than the call.
mod undecided;

/// Connections that end without an answer.
mod wire;

/// Misfortune by chance, and promises broken on purpose.
mod fault;

/// The record that judges.
mod journal;

/// Requests that never reach the books.
mod refusal;

/// The end of a process, and the next one.
mod crash;
