//! Real audit logs of clouds against real rules, through `scan`, in the forms in which Collectors
//! deliver them: exactly the matches that independent engines agree on. And real documents of many
//! services: those that Sigma knows are recognised as what they are, the others as nothing.
//!
//! The corpora are not part of the project; the tests skip where they are absent.

mod common;

use common::{Pairs, corpus, lines, scan, sigmahq, truth};
use otel_log_ai_core::otel::{LogRecord, Taxonomy};
use otel_log_ai_testkit::signoz::LogRow;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// A document of a corpus, and what it is called there.
struct Document {
    /// `file#number`.
    name: String,
    json: Value,
    /// Panther's names of the kinds of log that it may be.
    kinds: Vec<String>,
}

fn documents(file: &str) -> Vec<Document> {
    let Some(path) = corpus(&format!("web-cloud-k8s/{file}.dev.ndjson.gz")) else { return vec![] };
    let document = |line: Value| {
        let raw = line["raw"].as_str().and_then(|raw| serde_json::from_str(raw).ok());
        let kinds = line["log_types"].as_array().cloned().unwrap_or_default();
        Document {
            name: format!("{}#{}", line["source_file"].as_str().unwrap_or_default(), line["n"]),
            json: raw.unwrap_or_else(|| line["event"].clone()),
            kinds: kinds.iter().filter_map(|kind| kind.as_str().map(str::to_owned)).collect(),
        }
    };
    lines(&path).map(document).collect()
}

fn row(name: &str, body: &Value) -> LogRow {
    let mut row = LogRow::new(1_785_924_930_128_453_200, &[("host.name", "relay")], body.to_string());
    name.clone_into(&mut row.id);
    row
}

fn found(rules: &[PathBuf], rows: impl IntoIterator<Item = LogRow>) -> Pairs {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for row in rows {
        file.write_all(&row.to_json_each_row())
            .and_then(|()| file.write_all(b"\n"))
            .expect("a row is written");
    }
    scan(rules, file.path())
}

/// Matches that we hold to be right where the table, made of engines that look for fields by their
/// literal names in each document alone, has none: rule, documents, reason.
const ARGUED: &[(&str, &str, &str)] = &[
    (
        "402b955c-8fe0-4a8c-b635-622b4ac5f902",
        "panther/rules/kubernetes_rules/",
        "`hostPath` stands below requestObject.spec.volumes",
    ),
    (
        "ad9012a6-e518-4432-9890-f3b82b8fc71f",
        "sekoia/Kubernetes/",
        "`apiGroup` is objectRef's, which is `apps` here",
    ),
    (
        "eeb3e9e1-b685-44e4-9232-6bb701f925b5",
        "panther/rules/kubernetes_rules/k8s_secrets_dump_all_namespaces.yml#1",
        "the audit event is a text in properties.log of AKS's diagnostics",
    ),
    (
        "10b97915-ec8d-455f-a815-9a78926585f6",
        "panther/rules/kubernetes_rules/k8s_clusterrolebinding_privileged.yml#1",
        "the same",
    ),
    (
        "0d933542-1f1f-420d-97d4-21b2c3c492d9",
        "panther/rules/kubernetes_rules/k8s_multiple_403_public_ip.yml#1",
        "the same",
    ),
    (
        "0d933542-1f1f-420d-97d4-21b2c3c492d9",
        "panther/rules/kubernetes_rules/k8s_secrets_dump_all_namespaces.yml#1",
        "the same",
    ),
    (
        "0d933542-1f1f-420d-97d4-21b2c3c492d9",
        "panther/rules/kubernetes_rules/k8s_secret_access_denied.yml#2",
        "the same",
    ),
    (
        "905d389b-b853-46d0-9d3d-dea0d3a3cd49",
        "panther/rules/aws_cloudtrail_rules/aws_ec2_manual_security_group_changes.yml",
        "both values of the rule stand in the record (AssumedRole, issued by a Role)",
    ),
    // Documents that the table does not cover; the rule's values stand in them.
    ("905d389b-b853-46d0-9d3d-dea0d3a3cd49", "sekoia/AWS/", "AssumedRole, issued by a Role"),
    ("8ad1600d-e9dc-4251-b0ee-a65268f29add", "sekoia/AWS/", "userIdentity.type is Root"),
    (
        "c726e007-2cd0-4a55-abfb-79730fbedee5",
        "invictus-o365/",
        "`Parameters` is a list of names and values, which is searched as one text",
    ),
    ("d3577be1-42c9-44a7-b56e-2e8de97349d3", "invictus-o365/", "the same"),
];

/// Checks `found` against the tables of `names`, as far as matches are of rules of `sources`.
fn agree(form: &str, must: &Pairs, may: &Pairs, found: &Pairs) {
    let missing: Vec<_> = must.difference(found).collect();
    assert!(missing.is_empty(), "{form}: {} missing, first {:?}", missing.len(), missing[0]);
    let argued = |(rule, name): &(String, String)| {
        ARGUED.iter().any(|(id, documents, _)| id == rule && name.starts_with(documents))
    };
    let extra: Vec<_> =
        found.iter().filter(|hit| !must.contains(hit) && !may.contains(hit) && !argued(hit)).collect();
    assert!(extra.is_empty(), "{form}: {} extra: {extra:#?}", extra.len());
    eprintln!("{form}: {} of {} matches found, none extra", must.len(), must.len());
}

/// The rules of a product's folder, and the truth about them.
fn rules_and_truth(
    folders: &[&str],
    tables: &[&str],
) -> Option<(tempfile::TempDir, Vec<PathBuf>, Pairs, Pairs)> {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let roots = sigmahq(tree.path())?;
    let inside = |root: &PathBuf| folders.iter().map(|folder| root.join(folder)).collect::<Vec<_>>();
    let rules = roots.iter().flat_map(inside).filter(|folder| folder.exists()).collect();
    let (mut must, mut may) = (Pairs::new(), Pairs::new());
    for table in tables {
        let (sure, disputed) = truth(&corpus(&format!("truth/truth.{table}.dev.ndjson.gz"))?);
        must.extend(sure);
        may.extend(disputed);
    }
    Some((tree, rules, must, may))
}

const FILES: [&str; 6] =
    ["cloudtrail", "k8s-audit", "m365-audit", "panther-rule-tests", "sekoia-parser-tests", "cloud-other"];

fn all_documents() -> Vec<Document> {
    FILES.iter().flat_map(|file| documents(file)).collect()
}

#[test]
fn records_as_they_are() {
    let Some((_tree, rules, must, may)) =
        rules_and_truth(&["cloud/aws", "cloud/m365", "application/kubernetes"], &["aws", "k8s", "m365"])
    else {
        return;
    };
    let rows = all_documents().into_iter().map(|document| row(&document.name, &document.json));
    agree("raw", &must, &may, &found(&rules, rows));
}

/// A CloudTrail record as the Collector's aws_logs_encoding writes it: no body, attributes.
fn encoded(name: &str, record: &Value) -> LogRow {
    let mut row = row(name, &Value::Null);
    row.body.clear();
    let identity = &record["userIdentity"];
    let issuer = &identity["sessionContext"]["sessionIssuer"];
    for (attribute, value) in [
        ("rpc.method", &record["eventName"]),
        ("rpc.service", &record["eventSource"]),
        ("rpc.system", &record["eventType"]),
        ("aws.error.code", &record["errorCode"]),
        ("aws.error.message", &record["errorMessage"]),
        ("source.address", &record["sourceIPAddress"]),
        ("user_agent.original", &record["userAgent"]),
        ("aws.principal.type", &identity["type"]),
        ("aws.principal.arn", &identity["arn"]),
        ("user.name", &identity["userName"]),
        ("aws.user_identity.session_context.issuer.type", &issuer["type"]),
        ("aws.request.parameters", &record["requestParameters"]),
        ("aws.response.elements", &record["responseElements"]),
        ("aws.cloudtrail.additional_event_data", &record["additionalEventData"]),
    ] {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        row.attributes_string.push((attribute.to_owned(), text));
    }
    row
}

fn is_cloudtrail(document: &Document) -> bool {
    document.json["eventSource"].as_str().is_some_and(|source| source.ends_with(".amazonaws.com"))
}

#[test]
fn cloudtrail_records_as_attributes() {
    let Some((_tree, rules, must, may)) = rules_and_truth(&["cloud/aws"], &["aws"]) else { return };
    let documents = all_documents();
    let rows = documents.iter().filter(|d| is_cloudtrail(d)).map(|d| encoded(&d.name, &d.json));
    agree("aws_logs_encoding", &must, &may, &found(&rules, rows));
}

/// The documents of each file, and its name.
fn by_file(documents: Vec<Document>) -> BTreeMap<String, Vec<Value>> {
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for document in documents {
        let file = document.name.rsplit_once('#').map_or("", |(file, _)| file).to_owned();
        files.entry(file).or_default().push(document.json);
    }
    files
}

/// Pairs of rules and files.
fn of_files(pairs: &Pairs) -> Pairs {
    let file = |name: &str| name.rsplit_once('#').map_or(name, |(file, _)| file).to_owned();
    pairs.iter().map(|(rule, name)| (rule.clone(), file(name))).collect()
}

#[test]
fn cloudtrail_files_and_log_groups() {
    let Some((_tree, rules, must, may)) = rules_and_truth(&["cloud/aws"], &["aws"]) else { return };
    let files = by_file(all_documents().into_iter().filter(is_cloudtrail).collect());
    let file = files.iter().map(|(name, records)| row(name, &json!({"Records": records})));
    agree("Records[]", &of_files(&must), &of_files(&may), &found(&rules, file));
    let group = files.iter().map(|(name, records)| {
        let event = |record: &Value| json!({"id": "1", "timestamp": 1, "message": record.to_string()});
        let events: Vec<Value> = records.iter().map(event).collect();
        row(name, &json!({"messageType": "DATA_MESSAGE", "logGroup": "trail", "logEvents": events}))
    });
    agree("CloudWatch", &of_files(&must), &of_files(&may), &found(&rules, group));
}

#[test]
fn kubernetes_events_as_attributes_and_lists() {
    let Some((_tree, rules, must, may)) = rules_and_truth(&["application/kubernetes"], &["k8s"]) else {
        return;
    };
    let is_event = |document: &Document| !document.json["verb"].is_null();
    let parsed = all_documents().into_iter().filter(is_event).map(|document| {
        let mut row = row(&document.name, &Value::Null);
        row.body.clear();
        for (name, value) in document.json.as_object().cloned().unwrap_or_default() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            row.attributes_string.push((name, text));
        }
        row
    });
    agree("json_parser", &must, &may, &found(&rules, parsed));
    let lists = by_file(all_documents().into_iter().filter(is_event).collect());
    let lists = lists.iter().map(|(name, events)| {
        row(name, &json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": events}))
    });
    agree("EventList", &of_files(&must), &of_files(&may), &found(&rules, lists));
}

/// Panther's kinds of logs that Sigma has rules for, and the log source that we take them for.
const KNOWN: [(&str, &str); 16] = [
    ("AWS.CloudTrail", "aws"),
    ("Amazon.EKS.Audit", "kubernetes"),
    ("Azure.Audit", "azure"),
    ("Azure.MonitorActivity", "azure"),
    ("GCP.AuditLog", "gcp"),
    ("GSuite.ActivityEvent", "gcp"),
    ("GitHub.Audit", "github"),
    ("Okta.SystemLog", "okta"),
    ("OneLogin.Events", "onelogin"),
    ("Duo.Administrator", "cisco"),
    ("Duo.Authentication", "cisco"),
    ("Microsoft365.Audit.AzureActiveDirectory", "m365"),
    ("Microsoft365.Audit.SharePoint", "m365"),
    ("MicrosoftIntune.AuditLogs", "azure"),
    ("Osquery.Differential", "osquery"),
    ("GitHub.Webhook", "github"),
];

#[test]
fn documents_of_services_are_what_they_are() {
    let taxonomy = Taxonomy::builtin().expect("the mapping loads");
    // Documents of one kind that have more than what their test is about.
    let is_whole = |document: &Document| {
        let fields = document.json.as_object().cloned().unwrap_or_default();
        document.kinds.len() == 1 && fields.keys().filter(|name| !name.starts_with("p_")).count() > 3
    };
    let (mut right, mut unknown) = (0, vec![]);
    for document in documents("panther-rule-tests").into_iter().filter(is_whole) {
        let text = document.json.to_string();
        let record = LogRecord { body: Cow::Borrowed(&text), ..LogRecord::default() };
        let expected = KNOWN.iter().find(|(kind, _)| document.kinds[0] == *kind).map(|(_, product)| *product);
        for event in taxonomy.events(&record) {
            let Some(class) = event.class.map(|id| &taxonomy.classes[usize::from(id.0)]) else {
                if expected.is_some() {
                    unknown.push(document.name.clone());
                }
                continue;
            };
            // A cloud's gateways are web servers, which is another part of the mapping.
            let views = class.views.iter().map(|view| &view.logsource);
            let views = views.filter(|source| source.category.as_deref() != Some("webserver"));
            let products: Vec<_> = views.filter_map(|source| source.product.as_deref()).collect();
            let is_right = expected.is_some_and(|product| products.contains(&product));
            // Kinds that other parts of the mapping know: web servers, proxies, sensors.
            let is_other = class.name.starts_with("web/") || class.name.starts_with("network/");
            let is_ours =
                !is_other && products.iter().any(|product| KNOWN.iter().any(|(_, known)| known == product));
            assert!(is_right || !is_ours, "{} is taken for {}: {text}", document.name, class.name);
            right += usize::from(is_right);
        }
    }
    eprintln!("{right} documents recognised, {} not: {unknown:#?}", unknown.len());
    assert!(unknown.len() * 20 <= right + unknown.len(), "{} of {right} are not known", unknown.len());
}
