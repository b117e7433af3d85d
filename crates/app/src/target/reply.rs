//! What became of a request to a target, as the outbox needs to know it.

use std::time::Duration;

/// What a target's answer, or the lack of one, means. The texts are for people and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Taken. Keep promises no more than that it is in its memory.
    Accepted,
    /// No answer. `sent`: the request may have arrived.
    Unreachable {
        /// Whether it may have been taken all the same.
        sent: bool,
        /// Why.
        reason: String,
    },
    /// The receiver or a proxy before it failed.
    ServerError {
        /// The answer.
        reason: String,
    },
    /// Too many requests.
    TooMany {
        /// How long to wait, where the answer says so; Keep does not.
        retry_after: Option<Duration>,
        /// The answer.
        reason: String,
    },
    /// The request is too large for the receiver or a proxy before it.
    TooLarge,
    /// Some alerts do not have the form that is wanted, and none was taken.
    Invalid {
        /// Which and why, as far as the answer says so.
        elements: Vec<InvalidElement>,
        /// The answer.
        reason: String,
    },
    /// The receiver could not make sense of the request.
    Malformed {
        /// The answer.
        reason: String,
    },
    /// Address or key are wrong: nothing will arrive until somebody changes something.
    Misconfigured {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// One alert of a request that the receiver finds invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidElement {
    /// Its place in the array.
    pub index: usize,
    /// The key that is wrong; empty where the answer names none.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Reply {
    /// One word, for the metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Reply::Accepted => "accepted",
            Reply::Unreachable { .. } => "unreachable",
            Reply::ServerError { .. } => "server_error",
            Reply::TooMany { .. } => "too_many",
            Reply::TooLarge => "too_large",
            Reply::Invalid { .. } => "invalid",
            Reply::Malformed { .. } => "malformed",
            Reply::Misconfigured { .. } => "misconfigured",
        }
    }
}
