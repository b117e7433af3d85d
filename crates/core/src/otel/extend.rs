//! Joining the user's mapping files with the shipped ones.
//!
//! The user's files have the same form. What they add must neither be hidden by a shipped source
//! nor hide more of it than it names: see [`Taxonomy::extended`].

use super::file::{self, ChannelSection, Fields, FieldsEntry, File};
use super::taxonomy::{Taxonomy, View, normal_name};
use crate::problem::Problem;
use crate::rule::LogSource;
use serde_saphyr::Spanned;
use std::sync::Arc;

/// Reads both kinds of files.
pub(super) fn read(user: &[(&str, &str)], shipped: &[(&str, &str)]) -> Result<Taxonomy, Problem> {
    let mut user_files: Vec<(&str, File)> = vec![];
    for (path, text) in user {
        user_files.push((path, file::parse(path, text)?));
    }
    let mut shipped_files: Vec<(&str, File)> = vec![];
    for (path, text) in shipped {
        shipped_files.push((path, file::parse(path, text)?));
    }
    let mut taxonomy = Taxonomy::default();
    for (path, section) in sections(&mut shipped_files, &mut user_files) {
        file::add_channels(path, section, &mut taxonomy)?;
    }
    let mut fields: Vec<(&str, Vec<Spanned<FieldsEntry>>)> = vec![];
    for (path, mut file) in user_files.into_iter().chain(shipped_files) {
        fields.push((path, std::mem::take(&mut file.fields)));
        file::add_sources(path, file, &mut taxonomy)?;
    }
    // The first file's names come to stand in front.
    for (path, entries) in fields.iter().rev() {
        add_fields(path, entries, &mut taxonomy)?;
    }
    taxonomy.share_fields();
    Ok(taxonomy)
}

/// The sections of channels. A user's section joins the first one of its product; the section then
/// goes by the user's path, as what is wrong with it can only be the user's addition.
fn sections<'p>(
    shipped: &mut [(&'p str, File)],
    user: &mut [(&'p str, File)],
) -> Vec<(&'p str, ChannelSection)> {
    let take = |(path, file): &mut (&'p str, File)| Some((*path, file.channels.take()?));
    let mut sections: Vec<_> = shipped.iter_mut().filter_map(take).collect();
    for (path, section) in user.iter_mut().filter_map(take) {
        match sections.iter_mut().find(|(_, known)| known.product == section.product) {
            Some((known_path, known)) => {
                join(known, section);
                *known_path = path;
            }
            None => sections.push((path, section)),
        }
    }
    sections
}

/// Adds all of `more` to `section`.
fn join(section: &mut ChannelSection, more: ChannelSection) {
    section.other_channels |= more.other_channels;
    put_before(&mut section.fields, &more.fields);
    section.providers.extend(more.providers);
    for (name, service) in more.services {
        match section.services.get_mut(&name) {
            Some(known) => {
                let new = service.channels.into_iter().filter(|channel| !known.channels.contains(channel));
                let new: Vec<String> = new.collect();
                known.channels.extend(new);
                put_before(&mut known.fields, &service.fields);
            }
            None => {
                section.services.insert(name, service);
            }
        }
    }
    for (name, categories) in more.categories {
        section.categories.entry(name).or_default().extend(categories);
    }
    for (channel, events) in more.positions {
        section.positions.entry(channel).or_default().extend(events);
    }
}

/// Carries out a file's `fields`: puts native names before those that the log source has.
pub(super) fn add_fields(
    path: &str,
    entries: &[Spanned<FieldsEntry>],
    taxonomy: &mut Taxonomy,
) -> Result<(), Problem> {
    for entry in entries {
        let line = entry.referenced.line() as usize;
        let logsource = entry.value.logsource.logsource();
        if logsource == LogSource::default() {
            let message = "`logsource` states neither product, category nor service";
            return Err(file::problem(path, line, message));
        }
        let mut is_known = false;
        for view in taxonomy.classes.iter_mut().flat_map(|class| &mut class.views) {
            if logsource.covers(&view.logsource) {
                is_known = true;
                rename(view, &entry.value.fields);
            }
        }
        if !is_known {
            let message = format!("no source of the mapping is {logsource}");
            let hint = "`fields` is for log sources that are there; a new one goes under `sources`";
            return Err(Problem { hint: Some(hint.into()), ..file::problem(path, line, &message) });
        }
    }
    Ok(())
}

/// Puts `fields` before the names that `view` has for them. A field that it has none for was looked
/// up under its own name, and still is.
fn rename(view: &mut View, fields: &Fields) {
    for (field, names) in fields {
        let known: Vec<String> = view.native(field).into_iter().map(str::to_owned).collect();
        let fields = Arc::make_mut(&mut view.fields);
        fields.insert(field.clone(), joined(names, &known));
        // Rules may spell it in another way.
        let spelling = normal_name(field);
        for (other, of_other) in fields {
            if other != field && normal_name(other) == spelling {
                *of_other = joined(names, of_other);
            }
        }
    }
}

/// Puts the names of `more` before those that `fields` lists.
fn put_before(fields: &mut Fields, more: &Fields) {
    for (field, names) in more {
        let known = fields.entry(field.clone()).or_default();
        *known = joined(names, known);
    }
}

fn joined(first: &[String], then: &[String]) -> Vec<String> {
    let mut all = first.to_vec();
    all.extend(then.iter().filter(|name| !first.contains(name)).cloned());
    all
}

#[cfg(test)]
mod tests;
