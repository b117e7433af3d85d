//! How long to wait before ClickHouse is asked for new rows again.

use crate::config::PollInterval;
use std::time::Duration;

/// The shortest and the longest wait of `auto`.
const WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// Of the time, at most one part in so many is spent asking: on a table with thousands of parts a
/// listing takes a while, and it is ClickHouse that works then.
const SHARE: u32 = 20;

/// The wait, which follows what came of the last questions.
#[derive(Debug)]
pub struct Pause {
    interval: PollInterval,
    /// What `auto` waits, but for the cost of asking.
    wait: Duration,
}

impl Pause {
    /// As configured.
    pub fn new(interval: PollInterval) -> Pause {
        Pause { interval, wait: WAIT.0 }
    }

    /// There were rows: more will come soon.
    pub fn found(&mut self) {
        self.wait = WAIT.0;
    }

    /// There was nothing, which took so long to find out; how long to wait now. While nothing comes,
    /// the wait grows by a half from one time to the next: after five seconds it is the longest.
    pub fn nothing(&mut self, took: Duration) -> Duration {
        match self.interval {
            PollInterval::Fixed(wait) => wait,
            PollInterval::Auto => {
                let wait = self.wait;
                self.wait = (wait * 3 / 2).min(WAIT.1);
                wait.max((took * SHARE).min(WAIT.1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(8);

    #[test]
    fn it_is_short_while_rows_come_and_grows_while_none_do() {
        let mut pause = Pause::new(PollInterval::Auto);
        let waits: Vec<u128> = (0..8).map(|_| pause.nothing(QUICK).as_millis()).collect();
        assert_eq!(waits, [250, 375, 562, 843, 1265, 1898, 2000, 2000]);
        pause.found();
        assert_eq!(pause.nothing(QUICK), WAIT.0);
    }

    #[test]
    fn a_dear_question_is_asked_more_rarely() {
        let mut pause = Pause::new(PollInterval::Auto);
        pause.found();
        assert_eq!(pause.nothing(Duration::from_millis(40)), Duration::from_millis(800));
        assert_eq!(pause.nothing(Duration::from_secs(9)), WAIT.1);
    }

    #[test]
    fn a_fixed_wait_is_fixed() {
        let mut pause = Pause::new(PollInterval::Fixed(Duration::from_millis(50)));
        for _ in 0..9 {
            assert_eq!(pause.nothing(Duration::from_secs(1)), Duration::from_millis(50));
        }
    }
}
