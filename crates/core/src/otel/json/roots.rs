//! The keys at a document's root by which it is known what the document is, each a bit: one look at
//! a key answers all who ask for some of them.

/// A set of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::otel) struct Roots(u32);

impl Roots {
    /// `channel`, as the Collector writes it.
    pub const COLLECTOR_CHANNEL: Roots = Roots(1);
    /// `computer`
    pub const COLLECTOR_COMPUTER: Roots = Roots(1 << 1);
    /// `event_id`
    pub const COLLECTOR_EVENT_ID: Roots = Roots(1 << 2);
    /// `id`, `record_id`
    pub const ID: Roots = Roots(1 << 3);
    /// `Channel`
    pub const CHANNEL: Roots = Roots(1 << 4);
    /// Names of a Windows event's provider.
    pub const PROVIDER: Roots = Roots(1 << 5);
    /// `EventID`, `EventId`
    pub const EVENT_ID: Roots = Roots(1 << 6);
    /// Names of a Windows event's host.
    pub const COMPUTER: Roots = Roots(1 << 7);
    /// Keys that only entries of the journal have.
    pub const JOURNAL: Roots = Roots(1 << 8);
    /// `MESSAGE`
    pub const JOURNAL_MESSAGE: Roots = Roots(1 << 9);
    /// `_HOSTNAME`, `_TRANSPORT`
    pub const JOURNAL_ORIGIN: Roots = Roots(1 << 10);
    /// Keys under which an envelope has its document, or of a list of documents.
    pub const ENVELOPE: Roots = Roots(1 << 11);
    /// `kind`
    pub const KIND: Roots = Roots(1 << 12);

    /// The key as a set; most keys are none of these.
    pub fn of(key: &str) -> Roots {
        match key {
            "channel" => Roots::COLLECTOR_CHANNEL,
            "computer" => Roots::COLLECTOR_COMPUTER,
            "event_id" => Roots::COLLECTOR_EVENT_ID,
            "id" | "record_id" => Roots::ID,
            "Channel" => Roots::CHANNEL,
            "SourceName" | "ProviderName" | "Provider_Name" => Roots::PROVIDER,
            "EventID" | "EventId" => Roots::EVENT_ID,
            "Hostname" | "Computer" | "ComputerName" => Roots::COMPUTER,
            "__CURSOR" | "_BOOT_ID" => Roots::JOURNAL,
            "MESSAGE" => Roots::JOURNAL_MESSAGE,
            "_HOSTNAME" | "_TRANSPORT" => Roots::JOURNAL_ORIGIN,
            "ID" | "detail-type" | "AuditData" | "CloudTrailEvent" => Roots::ENVELOPE,
            "kind" => Roots::KIND,
            _ => Roots(0),
        }
    }

    /// Adds what `other` has.
    pub fn add(&mut self, other: Roots) {
        self.0 |= other.0;
    }

    /// Whether any of `wanted` is there.
    pub fn has(self, wanted: &[Roots]) -> bool {
        wanted.iter().any(|wanted| self.0 & wanted.0 != 0)
    }
}
