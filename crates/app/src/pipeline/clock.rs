//! The clock of the loop: the machine's, but it never runs backwards.
//!
//! Deadlines of alerts are points in time. If the machine's clock is set back by an hour, a clock
//! that follows would say nothing for an hour; this one goes on at its pace. If it is set forward,
//! or the machine slept, this one follows: what was due meanwhile is due now.

use crate::events::Event;
use otel_log_ai_core::alert::OpenAlert;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A difference that is taken for a clock that was set, milliseconds; less is the drift between two
/// clocks of one machine.
const SET_MS: i64 = 10_000;

static CLOCK: Clock = Clock::new();

/// Milliseconds since the epoch; never less than before.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let machine_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    CLOCK.read(machine_ms, Instant::now())
}

#[derive(Debug)]
struct Clock {
    /// A moment by both clocks, and whether it was told that the machine's was set back.
    known: Mutex<Option<(i64, Instant, bool)>>,
}

impl Clock {
    const fn new() -> Clock {
        Clock { known: Mutex::new(None) }
    }

    fn read(&self, machine_ms: i64, now: Instant) -> i64 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((then_ms, then, told)) = known.as_mut() else {
            *known = Some((machine_ms, now, false));
            return machine_ms;
        };
        let passed = i64::try_from(now.saturating_duration_since(*then).as_millis()).unwrap_or(i64::MAX);
        let steady_ms = then_ms.saturating_add(passed);
        let ahead_ms = machine_ms.saturating_sub(steady_ms);
        if ahead_ms > SET_MS {
            *known = Some((machine_ms, now, false));
            return machine_ms;
        }
        if ahead_ms < -SET_MS && !*told {
            *told = true;
            Event::ClockSetBack { by: Duration::from_millis(ahead_ms.unsigned_abs()) }.emit();
        }
        steady_ms
    }
}

/// Brings times of a restored alert that lie ahead (the clock was set back while the service was
/// down) to the present, so that it is not silent until then.
pub fn not_ahead(mut alert: OpenAlert, now_ms: i64) -> OpenAlert {
    alert.opened_ms = alert.opened_ms.min(now_ms);
    alert.active_ms = alert.active_ms.min(now_ms);
    if let Some(delivered) = &mut alert.delivered {
        delivered.at_ms = delivered.at_ms.min(now_ms);
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_forward_and_never_back() {
        let clock = Clock::new();
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        assert_eq!(clock.read(1_000_000, begin), 1_000_000);
        assert_eq!(clock.read(1_005_300, after(5)), 1_005_000, "a small difference is drift");
        // Set back by an hour: time goes on.
        assert_eq!(clock.read(1_010_000 - 3_600_000, after(10)), 1_010_000);
        assert_eq!(clock.read(1_020_000 - 3_600_000, after(20)), 1_020_000);
        // Set right again, then the machine sleeps for a day.
        assert_eq!(clock.read(1_030_000, after(30)), 1_030_000);
        assert_eq!(clock.read(1_040_000 + 86_400_000, after(40)), 1_040_000 + 86_400_000);
        assert_eq!(clock.read(1_041_000 + 86_400_000, after(41)), 1_041_000 + 86_400_000);
    }
}
