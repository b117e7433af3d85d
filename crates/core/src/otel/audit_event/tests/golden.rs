//! The same as two other assemblers: LAUREL (its JSON) and Elastic's go-libaudit (`auparse` for
//! records, `aucoalesce` for events). Skips where the corpora are not there.
