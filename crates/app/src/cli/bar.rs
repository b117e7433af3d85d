//! The progress bar of `run` while it catches up, for a person at a terminal.
//!
//! It shows what the log line and the metrics tell ([`crate::tail::backlog`]) and goes when nothing
//! waits any more. Where standard error is no terminal, or the log is JSON, there is none.

use crate::tail::{self, Backlog};
use indicatif::{FormattedDuration, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Stderr, Write};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

const STYLE: &str = "catching up {bar:10} {percent:>3} %  {msg}";
/// Time between two looks at the backlog.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The bar, shown or not. Clones are the same bar.
#[derive(Debug, Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// For a log on standard error; `json`: for machines.
    pub fn beside_log(json: bool) -> Bar {
        match !json && io::stderr().is_terminal() {
            true => Bar::on(ProgressDrawTarget::stderr()),
            false => Bar::on(ProgressDrawTarget::hidden()),
        }
    }

    fn on(target: ProgressDrawTarget) -> Bar {
        let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
        Bar(ProgressBar::with_draw_target(Some(0), target).with_style(style))
    }

    /// Shows the backlog for as long as there is one; never ends, unless there is nothing to draw on.
    pub async fn follow(self) {
        if self.0.is_hidden() {
            return;
        }
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            self.show(tail::backlog());
        }
    }

    /// Draws it as it stands now, or takes it away.
    fn show(&self, backlog: Option<Backlog>) {
        match backlog {
            Some(backlog) => {
                if self.0.is_finished() {
                    self.0.reset();
                }
                self.0.set_length(backlog.done + backlog.left);
                self.0.set_message(text(&backlog));
                self.0.set_position(backlog.done);
            }
            None => self.clear(),
        }
    }

    /// Takes it away.
    pub fn clear(&self) {
        if !self.0.is_finished() {
            self.0.finish_and_clear();
        }
    }
}

/// What stands behind the bar.
fn text(backlog: &Backlog) -> String {
    let (done, all) = (HumanCount(backlog.done), HumanCount(backlog.done + backlog.left));
    let rest = match backlog.eta_s() {
        Some(seconds) => {
            let rate = HumanCount(backlog.rows_per_second() as u64);
            format!("{rate}/s, ETA {}", FormattedDuration(Duration::from_secs(seconds)))
        }
        None => "…".to_owned(),
    };
    format!("{done} of {all} rows, {rest}")
}

/// Standard error for the log: the bar makes way for each line.
impl<'a> MakeWriter<'a> for Bar {
    type Writer = Beside<Stderr>;

    fn make_writer(&'a self) -> Beside<Stderr> {
        Beside { bar: self.clone(), out: io::stderr() }
    }
}

/// Writes to where the bar is drawn.
#[derive(Debug)]
pub struct Beside<W> {
    bar: Bar,
    out: W,
}

impl<W: Write> Write for Beside<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.0.suspend(|| self.out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{InMemoryTerm, TermLike};

    /// Prints on the terminal that the bar is drawn on.
    struct Printer(InMemoryTerm);

    impl Write for Printer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_str(&String::from_utf8_lossy(bytes).replace('\n', "\r\n"))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn at_terminal() -> (InMemoryTerm, Bar) {
        let terminal = InMemoryTerm::new(10, 100);
        let bar = Bar::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        (terminal, bar)
    }

    fn backlog(done: u64, left: u64, took_s: u64) -> Option<Backlog> {
        Some(Backlog { done, left, took: Duration::from_secs(took_s) })
    }

    #[test]
    fn it_says_how_much_how_fast_and_how_long() {
        let text = |backlog: Option<Backlog>| text(&backlog.unwrap());
        assert_eq!(text(backlog(0, 90_000, 0)), "0 of 90,000 rows, …");
        assert_eq!(
            text(backlog(200_000, 1_800_000, 10)),
            "200,000 of 2,000,000 rows, 20,000/s, ETA 00:01:30"
        );
    }

    #[test]
    fn it_is_there_while_there_is_a_backlog() {
        let (terminal, bar) = at_terminal();
        bar.show(None);
        assert_eq!(terminal.contents(), "");
        bar.show(backlog(300, 900, 3));
        let shown = terminal.contents();
        assert!(shown.starts_with("catching up █") && shown.contains(" 25 %  300 of 1,200 rows"), "{shown}");
        bar.show(None);
        assert_eq!(terminal.contents(), "", "caught up");
        bar.show(backlog(50, 50, 1));
        assert!(terminal.contents().contains(" 50 %  50 of 100 rows"), "the next backlog");
        bar.clear();
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn a_line_of_the_log_does_not_tear_it() {
        let (terminal, bar) = at_terminal();
        bar.show(backlog(300, 900, 3));
        let mut log = Beside { bar: bar.clone(), out: Printer(terminal.clone()) };
        log.write_all(b"INFO the first line\n").unwrap();
        log.write_all(b"INFO the second line\n").unwrap();
        let shown = terminal.contents();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[..2], ["INFO the first line", "INFO the second line"]);
        assert!(lines.len() == 3 && lines[2].starts_with("catching up "), "{shown}");
        bar.show(None);
        assert_eq!(terminal.contents(), "INFO the first line\nINFO the second line");
    }
}
