//! Makes an event on which something goes wrong as small as it can be.

use otel_log_ai_core::otel::Event;
use otel_log_ai_core::value::Value;

/// Most tries; what is left then is small enough for people.
const TRIES_MAX: usize = 5_000;

/// The smallest event found for which `fails` still holds: fields and texts are left out, then pieces
/// of values, from halves down to single characters.
pub fn shrink(event: &Event<'static>, mut fails: impl FnMut(&Event<'static>) -> bool) -> Event<'static> {
    let mut best = event.clone();
    let mut tries = 0;
    let mut better = |event: &Event<'static>| {
        tries += 1;
        tries < TRIES_MAX && fails(event)
    };
    loop {
        let mut shrunk = false;
        for candidate in fewer(&best) {
            if better(&candidate) {
                best = candidate;
                shrunk = true;
                break;
            }
        }
        if shrunk {
            continue;
        }
        for at in 0..best.fields.len() {
            if let Value::Str(text) = best.fields[at].1.clone() {
                let mut with = best.clone();
                let short = shorter(&text, |text| {
                    with.fields[at].1 = text.to_owned().into();
                    better(&with)
                });
                shrunk |= short.len() < text.len();
                best.fields[at].1 = short.into();
            }
        }
        for at in 0..best.texts.len() {
            let text = best.texts[at].clone();
            let mut with = best.clone();
            let short = shorter(&text, |text| {
                with.texts[at] = text.to_owned().into();
                better(&with)
            });
            shrunk |= short.len() < text.len();
            best.texts[at] = short.into();
        }
        if !shrunk {
            return best;
        }
    }
}

/// The event without one of its fields or texts.
fn fewer(event: &Event<'static>) -> Vec<Event<'static>> {
    let mut all = Vec::new();
    for at in 0..event.fields.len() {
        let mut less = event.clone();
        less.fields.remove(at);
        all.push(less);
    }
    for at in 0..event.texts.len() {
        let mut less = event.clone();
        less.texts.remove(at);
        all.push(less);
    }
    all
}

/// The shortest text found that still fails.
fn shorter(text: &str, mut fails: impl FnMut(&str) -> bool) -> String {
    let mut best: Vec<char> = text.chars().collect();
    let mut piece = best.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut less = best.clone();
            less.drain(at..(at + piece).min(less.len()));
            if fails(&less.iter().collect::<String>()) {
                best = less;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    best.into_iter().collect()
}
