//! Reading the files of `taxonomy/`, and the user's own of the same form.

use super::advice::{Advice, Uncarried};
use super::class::{Program, Slot, When};
use super::derive::Derive;
use super::event::ClassId;
use super::extend;
use super::sources::Source;
use super::taxonomy::{Class, Taxonomy, View};
use crate::problem::Problem;
use crate::rule::LogSource;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sigma field → native names.
pub(super) type Fields = BTreeMap<String, Vec<String>>;

/// Version of the file format that this code reads.
const VERSION: u32 = 1;

/// Conditional categories of one event id; each doubles the number of classes.
const CONDITIONS_MAX: usize = 4;

/// Most channels, and most event ids of all channels, of all files together.
const CHANNELS_MAX: usize = 10_000;
const EVENTS_MAX: usize = 100_000;

/// A file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    version: u32,
    pub channels: Option<ChannelSection>,
    #[serde(default)]
    programs: Vec<Spanned<ProgramEntry>>,
    #[serde(default)]
    sources: Vec<SourceEntry>,
    #[serde(default)]
    uncarried: Vec<Uncarried>,
    #[serde(default)]
    advice: Vec<Advice>,
    #[serde(default)]
    pub fields: Vec<Spanned<FieldsEntry>>,
}

/// Windows events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelSection {
    pub product: String,
    /// Whether events of channels that are not listed are of this product.
    #[serde(default)]
    pub other_channels: bool,
    /// For all views.
    #[serde(default)]
    pub fields: Fields,
    #[serde(default)]
    pub providers: BTreeMap<String, String>,
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    #[serde(default)]
    pub categories: BTreeMap<String, Vec<Category>>,
    /// Channel → event id → the names of its data, one list for each number of values.
    #[serde(default)]
    pub positions: BTreeMap<String, BTreeMap<u32, Vec<Vec<String>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub channels: Vec<String>,
    #[serde(default)]
    pub fields: Fields,
}

/// Some event ids of a service's channels.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Category {
    service: String,
    event_id: Vec<u32>,
    /// Field → values; the category applies where all fit.
    #[serde(default)]
    when: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    fields: Fields,
    #[serde(default)]
    derive: Vec<Derive>,
}

/// Anything else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    class: String,
    when: When,
    views: Vec<ViewEntry>,
    /// Whether other events have told the same.
    #[serde(default)]
    repeat: bool,
    /// For all views.
    #[serde(default)]
    fields: Fields,
    #[serde(default)]
    derive: Vec<Derive>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewEntry {
    product: Option<String>,
    category: Option<String>,
    service: Option<String>,
    #[serde(default)]
    fields: Fields,
}

impl ViewEntry {
    fn logsource(&self) -> LogSource {
        logsource(&self.product, &self.category, &self.service)
    }
}

/// Says of records who wrote them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramEntry {
    program: String,
    when: Origin,
}

/// What of [`When`] is known before the line is read as its program's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Origin {
    program: Vec<String>,
    file: Vec<String>,
    attribute: BTreeMap<String, Vec<String>>,
    resource: BTreeMap<String, Vec<String>>,
}

/// Native names for fields of log sources that are described elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldsEntry {
    pub logsource: NamedSource,
    pub fields: Fields,
}

/// [`LogSource`], without unknown keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedSource {
    product: Option<String>,
    category: Option<String>,
    service: Option<String>,
}

impl NamedSource {
    pub fn logsource(&self) -> LogSource {
        logsource(&self.product, &self.category, &self.service)
    }
}

/// Names are in lower case, as those of rules are.
fn logsource(product: &Option<String>, category: &Option<String>, service: &Option<String>) -> LogSource {
    let lower = |name: &Option<String>| name.as_deref().map(str::to_lowercase);
    LogSource { product: lower(product), category: lower(category), service: lower(service) }
}

/// Reads `text` into `taxonomy`.
pub(super) fn read(path: &str, text: &str, taxonomy: &mut Taxonomy) -> Result<(), Problem> {
    let mut file = parse(path, text)?;
    if let Some(section) = file.channels.take() {
        add_channels(path, section, taxonomy)?;
    }
    let fields = std::mem::take(&mut file.fields);
    add_sources(path, file, taxonomy)?;
    extend::add_fields(path, &fields, taxonomy)
}

/// Reads `text` as it is written.
pub(super) fn parse(path: &str, text: &str) -> Result<File, Problem> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |place| place.line() as usize);
        let message = error.without_snippet().to_string();
        problem(path, line, message.lines().next().unwrap_or_default())
    })?;
    if file.version != VERSION {
        let message = format!("version {} is not known, this program reads version {VERSION}", file.version);
        return Err(problem(path, 0, &message));
    }
    Ok(file)
}

/// Adds what tells programs and sources; they are tried in the order in which they are added.
pub(super) fn add_sources(path: &str, file: File, taxonomy: &mut Taxonomy) -> Result<(), Problem> {
    for entry in file.programs {
        let line = entry.referenced.line() as usize;
        let ProgramEntry { program, when: Origin { program: wanted, file, attribute, resource } } =
            entry.value;
        let when = When { program: wanted, file, attribute, resource, ..When::default() };
        if when == When::default() {
            let message =
                format!("`when` of the program {program} has no condition, so every record would be its");
            return Err(problem(path, line, &message));
        }
        taxonomy.programs.push(Program { when, program });
    }
    for entry in file.sources {
        let views = entry.views.into_iter().map(|view| View {
            logsource: view.logsource(),
            fields: merged(&entry.fields, &view.fields),
            is_repeat: entry.repeat,
        });
        let class = Class { name: entry.class, views: views.collect() };
        let class = taxonomy.add(class, entry.derive).ok_or_else(|| too_many(path, "sources"))?;
        taxonomy.sources.push(Source { when: entry.when, class });
    }
    taxonomy.uncarried.extend(file.uncarried);
    taxonomy.advice.extend(file.advice);
    Ok(())
}

pub(super) fn problem(path: &str, line: usize, message: &str) -> Problem {
    Problem { path: path.into(), line, subject: String::new(), message: message.into(), hint: None }
}

fn too_many(path: &str, what: &str) -> Problem {
    problem(path, 0, &format!("has more {what} than this program can hold"))
}

/// `special` over `general`.
fn merged(general: &Fields, special: &Fields) -> Arc<Fields> {
    let mut fields = general.clone();
    fields.extend(special.clone());
    Arc::new(fields)
}

/// Adds what tells events that have a channel and an event id.
pub(super) fn add_channels(
    path: &str,
    section: ChannelSection,
    taxonomy: &mut Taxonomy,
) -> Result<(), Problem> {
    let product = |service: Option<&str>, category: Option<&str>, fields: Arc<Fields>| View {
        logsource: LogSource {
            product: Some(section.product.clone()),
            category: category.map(str::to_owned),
            service: service.map(str::to_owned),
        },
        fields,
        is_repeat: false,
    };
    if section.other_channels {
        let view = product(None, None, Arc::new(section.fields.clone()));
        let class = Class { name: section.product.clone(), views: vec![view] };
        let class = taxonomy.add(class, vec![]).ok_or_else(|| too_many(path, "products"))?;
        taxonomy.channels.other = Some(class);
    }
    // Several services may share a channel, so views are collected by channel first.
    let mut channels: BTreeMap<&str, Vec<View>> = BTreeMap::new();
    for (name, service) in &section.services {
        for channel in &service.channels {
            let fields = merged(&section.fields, &service.fields);
            channels.entry(channel).or_default().push(product(Some(name), None, fields));
        }
    }
    for (channel, views) in channels {
        let service = views[0].logsource.service.clone().unwrap_or_default();
        let name = format!("{}/{service}", section.product);
        if taxonomy.channels.names.contains_key(&channel.to_ascii_lowercase()) {
            let message = format!("the channel {channel} is of another product already");
            return Err(problem(path, 0, &message));
        }
        let class = taxonomy.add(Class { name: name.clone(), views: views.clone() }, vec![]);
        let class = class.filter(|_| taxonomy.channels.services.len() < CHANNELS_MAX);
        let class = class.ok_or_else(|| too_many(path, "channels"))?;
        let number = taxonomy.channels.services.len() as u16;
        taxonomy.channels.services.push(class);
        taxonomy.channels.names.insert(channel.to_owned(), number);
        taxonomy.channels.names.insert(channel.to_ascii_lowercase(), number);
        let here = section.services.iter().filter(|(_, s)| s.channels.iter().any(|c| c == channel));
        let services: Vec<&String> = here.map(|(name, _)| name).collect();
        for (event_id, categories) in categories_by_event(&section, &services) {
            let slot = slot(path, &section, &format!("{name}/{event_id}"), &views, &categories, taxonomy)?;
            taxonomy.channels.events.insert((number, event_id), slot);
            if taxonomy.channels.events.len() > EVENTS_MAX {
                return Err(too_many(path, "event ids"));
            }
        }
    }
    for (category, entry) in section.categories.iter().flat_map(|(n, list)| list.iter().map(move |e| (n, e)))
    {
        if !section.services.contains_key(&entry.service) {
            let message = format!("category {category} names the unknown service {}", entry.service);
            return Err(problem(path, 0, &message));
        }
    }
    for (channel, events) in section.positions {
        let channel = channel.to_ascii_lowercase();
        let lists = events.into_iter().map(|(id, lists)| ((channel.clone(), id), lists));
        taxonomy.channels.positions.extend(lists);
    }
    let providers = section.providers.into_iter().map(|(name, channel)| (name.to_ascii_lowercase(), channel));
    taxonomy.channels.providers.extend(providers);
    Ok(())
}

type Named<'s> = (&'s str, &'s Category);

fn categories_by_event<'s>(
    section: &'s ChannelSection,
    services: &[&String],
) -> BTreeMap<u32, Vec<Named<'s>>> {
    let mut events: BTreeMap<u32, Vec<Named<'s>>> = BTreeMap::new();
    for (name, entries) in &section.categories {
        for entry in entries.iter().filter(|entry| services.contains(&&entry.service)) {
            for id in &entry.event_id {
                events.entry(*id).or_default().push((name, entry));
            }
        }
    }
    events
}

/// One class for each combination of the conditions of `categories`.
fn slot(
    path: &str,
    section: &ChannelSection,
    name: &str,
    services: &[View],
    categories: &[Named<'_>],
    taxonomy: &mut Taxonomy,
) -> Result<Slot, Problem> {
    let conditions: Vec<_> = categories
        .iter()
        .filter(|(_, entry)| !entry.when.is_empty())
        .map(|(_, entry)| entry.when.clone())
        .collect();
    if conditions.len() > CONDITIONS_MAX {
        let message = format!("{name} has more than {CONDITIONS_MAX} categories with conditions");
        return Err(problem(path, 0, &message));
    }
    let mut classes: Vec<ClassId> = vec![];
    for combination in 0..1_usize << conditions.len() {
        let mut views = services.to_vec();
        let mut derive: Vec<Derive> = vec![];
        let mut bit = 0;
        for (category, entry) in categories {
            let is_conditional = !entry.when.is_empty();
            let applies = !is_conditional || combination & (1 << bit) != 0;
            bit += usize::from(is_conditional);
            if !applies {
                continue;
            }
            views.push(View {
                logsource: LogSource {
                    product: Some(section.product.clone()),
                    category: Some((*category).to_owned()),
                    service: None,
                },
                fields: merged(&section.fields, &entry.fields),
                is_repeat: false,
            });
            derive.extend(entry.derive.iter().filter(|d| !derive.contains(d)).cloned().collect::<Vec<_>>());
        }
        let name = match combination {
            0 => name.to_owned(),
            _ => format!("{name}#{combination}"),
        };
        let class = taxonomy.add(Class { name, views }, derive);
        classes.push(class.ok_or_else(|| too_many(path, "event ids"))?);
    }
    Ok(Slot { conditions, classes })
}
