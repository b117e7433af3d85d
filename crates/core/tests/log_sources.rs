//! What rules find in the documents of clouds, services and agents: each source in the forms in
//! which it is delivered, by the fields that Sigma's rules ask for. The documents are made up after
//! the sources' own references.

use otel_log_ai_core::otel::{Event, LogRecord, Taxonomy, View, normal_name};
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::sync::LazyLock;

static TAXONOMY: LazyLock<Taxonomy> = LazyLock::new(|| Taxonomy::builtin().expect("the mapping loads"));

/// A record with this body.
fn body(text: &str) -> LogRecord<'_> {
    LogRecord { body: Cow::Borrowed(text), ..LogRecord::default() }
}

type Pairs = Vec<(Cow<'static, str>, Cow<'static, str>)>;

fn pairs(object: &Json) -> Pairs {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let object = object.as_object().cloned().unwrap_or_default();
    object.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(text(&value)))).collect()
}

/// A record whose content stands in its attributes; lists and objects as JSON text, as exporters
/// write them.
fn attributes(object: &Json) -> LogRecord<'static> {
    LogRecord { attributes_string: pairs(object), ..LogRecord::default() }
}

/// The view of the event that rules of `logsource` (`product/category/service`, `-` for none) use.
fn view<'t>(event: &Event<'_>, logsource: &str) -> Option<&'t View> {
    let parts: Vec<_> = logsource.split('/').map(|part| (part != "-").then(|| part.to_owned())).collect();
    let class = &TAXONOMY.classes[usize::from(event.class?.0)];
    let is_wanted = |view: &&View| {
        let own = [&view.logsource.product, &view.logsource.category, &view.logsource.service];
        parts.iter().zip(own).all(|(wanted, own)| wanted.is_none() || wanted == own)
    };
    class.views.iter().find(is_wanted)
}

/// All values under which a rule of the view finds `field`.
fn values(event: &Event<'_>, view: &View, field: &str) -> Vec<String> {
    let names: Vec<String> = view.native(field).into_iter().map(normal_name).collect();
    let fields = event.fields.iter().filter(|(name, _)| names.contains(&normal_name(name)));
    fields.filter_map(|(_, value)| value.text().map(Cow::into_owned)).collect()
}

/// Checks that rules of `logsource` find these values; one that begins with `~` is a part.
#[track_caller]
fn check(record: &LogRecord<'_>, logsource: &str, wanted: &[(&str, &str)]) {
    let events = TAXONOMY.events(record);
    assert_eq!(events.len(), 1, "{events:#?}");
    let event = &events[0];
    let class = event.class.map(|id| TAXONOMY.classes[usize::from(id.0)].name.as_str());
    let Some(view) = view(event, logsource) else { panic!("no {logsource}: {class:?} {event:#?}") };
    for (field, value) in wanted {
        let found = values(event, view, field);
        let is_there = match value.strip_prefix('~') {
            Some(part) => found.iter().any(|found| found.contains(part)),
            None => found.iter().any(|found| found.eq_ignore_ascii_case(value)),
        };
        assert!(is_there, "{class:?}: {field} is {found:?}, wanted {value}: {event:#?}");
    }
}

#[track_caller]
fn check_body(document: Json, logsource: &str, wanted: &[(&str, &str)]) {
    check(&body(&document.to_string()), logsource, wanted);
}

#[test]
fn entra_audit_events_in_every_form() {
    let change = json!([{"displayName": "UserType", "oldValue": "[\"Guest\"]", "newValue": "[\"Member\"]"}]);
    let targets = json!([{"id": "1", "type": "User", "modifiedProperties": change}]);
    let wanted = [
        ("Category", "UserManagement"),
        ("OperationName", "Update user"),
        ("properties.message", "Update user"),
        (
            "properties.message",
            r#""displayName":"UserType","oldValue":"[\"Guest\"]","newValue":"[\"Member\"]""#,
        ),
        ("LoggedByService", "Core Directory"),
        ("Status", "success"),
        ("TargetResources.ModifiedProperties.DisplayName", "UserType"),
        ("TargetResources", "~UserType"),
        ("properties.targetResources", "~Member"),
        ("Initiatedby", "~eve@x.org"),
    ];
    let properties = json!({
        "activityDisplayName": "Update user", "category": "UserManagement", "result": "success",
        "loggedByService": "Core Directory", "targetResources": targets,
        "initiatedBy": {"user": {"userPrincipalName": "eve@x.org"}}});
    let hub = json!({"category": "AuditLogs", "operationName": "Update user", "properties": properties});
    check_body(hub.clone(), "azure/-/auditlogs", &wanted);
    check_body(properties.clone(), "azure/-/auditlogs", &wanted);
    let table = json!({
        "Type": "AuditLogs", "OperationName": "Update user", "ActivityDisplayName": "Update user",
        "Category": "UserManagement", "Result": "success", "LoggedByService": "Core Directory",
        "TargetResources": targets.to_string(),
        "InitiatedBy": "{\"user\":{\"userPrincipalName\":\"eve@x.org\"}}"});
    check_body(table, "azure/-/auditlogs", &wanted);
    // The older translation of the Collector writes a body, the newer one attributes.
    let translated =
        json!({"category": "AuditLogs", "operation.name": "Update user", "properties": properties});
    check_body(translated, "azure/-/auditlogs", &wanted);
    let mut encoded = properties;
    encoded["azure.category"] = json!("AuditLogs");
    encoded["azure.operation.name"] = json!("Update user");
    check(&attributes(&encoded), "azure/-/auditlogs", &wanted);
    // A file of the Event Hub is a list.
    let list = json!({"records": [hub]}).to_string();
    check(&body(&list), "azure/-/auditlogs", &wanted);
}

#[test]
fn entra_audit_events_have_the_portals_names() {
    let event = |operation: &str, more: Json| {
        let mut properties = json!({"loggedByService": "PIM", "result": "success"});
        properties.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        json!({"category": "AuditLogs", "operationName": operation, "properties": properties})
    };
    for (operation, name) in [
        ("Add eligible member to role in PIM completed (permanent)", "Add eligible member (permanent)"),
        ("Add member to role request denied (PIM activation)", "Request Approved/Denied"),
        ("Add member to group", "Add member from group"),
    ] {
        check_body(event(operation, json!({})), "azure/-/auditlogs", &[("properties.message", name)]);
    }
    let consent = json!({"targetResources": [{"type": "ServicePrincipal", "modifiedProperties": [
        {"displayName": "ConsentContext.IsAdminConsent", "oldValue": null, "newValue": "\"False\""}]}]});
    let wanted = [("ConsentContext.IsAdminConsent", "false"), ("targetResources.type", "Service Principal")];
    check_body(event("Consent to application", consent), "azure/-/auditlogs", &wanted);
    let recovered = json!({"category": "Device", "additionalDetails": [
        {"key": "AdditionalInfo", "value": "Successfully recovered local credential by device id"}]});
    let wanted = [
        ("category", "Device"),
        ("activityType", "Recover device local administrator password"),
        ("additionalDetails.additionalInfo", "~Successfully recovered"),
    ];
    check_body(event("Recover device local administrator password", recovered), "azure/-/auditlogs", &wanted);
    let refused =
        json!({"resultReason": "Microsoft.online.Security.userConsentBlockedForRiskyAppsExceptions"});
    let wanted =
        [("failure_status_reason", "Microsoft.online.Security.userConsentBlockedForRiskyAppsExceptions")];
    check_body(event("Consent to application", refused), "azure/-/auditlogs", &wanted);
}

#[test]
fn entra_sign_ins_in_every_form() {
    let properties = json!({
        "userPrincipalName": "bob@x.org", "appDisplayName": "Graph", "appId": "a1", "userAgent": "axios/1.7",
        "status": {"errorCode": 500121, "failureReason": "x", "additionalDetails": "MFA denied; user declined"},
        "deviceDetail": {"deviceId": "", "isCompliant": false, "trustType": ""}, "riskState": "atRisk",
        "authenticationRequirement": "multiFactorAuthentication", "authenticationProtocol": "deviceCode",
        "resourceDisplayName": "Device Registration Service", "conditionalAccessStatus": "success",
        "clientAppUsed": "Other clients", "networkLocationDetails": []});
    let wanted = [
        ("ResultType", "500121"),
        ("ResultDescription", "~Authentication failed during strong authentication request"),
        ("Status", "MFA denied"),
        ("Status", "Failure"),
        ("AuthenticationRequirement", "multiFactorAuthentication"),
        ("properties.message", "Device Code"),
        ("DeviceDetail.deviceId", ""),
        ("DeviceDetail.isCompliant", "false"),
        ("DeviceDetail.trusttype", ""),
        ("NetworkLocationDetails", "[]"),
        ("RiskState", "atRisk"),
        ("ResourceDisplayName", "Device Registration Service"),
        ("conditionalAccessStatus", "success"),
        ("properties.appId", "a1"),
        ("userAgent", "~axios"),
        ("ClientApp", "Other client"),
    ];
    let hub = json!({"category": "NonInteractiveUserSignInLogs", "operationName": "Sign-in activity",
        "resultType": "500121", "location": "DE", "properties": properties});
    check_body(hub, "azure/-/signinlogs", &wanted);
    check_body(properties.clone(), "azure/-/signinlogs", &wanted);
    let mut table = json!({"Type": "SigninLogs", "OperationName": "Sign-in activity", "ResultType": 500121});
    for (name, value) in properties.as_object().unwrap() {
        // Its columns with objects are text in exports.
        let value = if value.is_object() { json!(value.to_string()) } else { value.clone() };
        table[&(name[..1].to_uppercase() + &name[1..])] = value;
    }
    check_body(table, "azure/-/signinlogs", &wanted);
    let mut encoded = properties;
    encoded["azure.category"] = json!("SignInLogs");
    encoded["azure.operation.name"] = json!("Sign-in activity");
    encoded["azure.result.type"] = json!("500121");
    check(&attributes(&encoded), "azure/-/signinlogs", &wanted);
}

#[test]
fn azure_activity_risk_and_pim() {
    let operation = "MICROSOFT.KEYVAULT/VAULTS/DELETE";
    let wanted = [("operationName", operation), ("CategoryValue", "Administrative")];
    check_body(
        json!({"category": "Administrative", "operationName": operation, "resourceId": "/SUBSCRIPTIONS/1"}),
        "azure/-/activitylogs",
        &wanted,
    );
    check_body(
        json!({"OperationNameValue": operation, "CategoryValue": "Administrative"}),
        "azure/-/activitylogs",
        &wanted,
    );
    check_body(
        json!({"operationName": {"value": operation}, "category": {"value": "Administrative"}}),
        "azure/-/activitylogs",
        &wanted,
    );
    let mut encoded =
        attributes(&json!({"azure.category": "Administrative", "azure.operation.name": operation}));
    encoded.resources = pairs(&json!({"cloud.resource_id": "/x/AdFederationService_1"}));
    check(&encoded, "azure/-/activitylogs", &wanted);
    check(&encoded, "azure/-/activitylogs", &[("ResourceId", "~AdFederationService")]);
    let health = "Microsoft.ADHybridHealthService/services/delete";
    check_body(
        json!({"OperationNameValue": health, "CategoryValue": "Administrative"}),
        "azure/-/activitylogs",
        &[("ResourceProviderValue", "Microsoft.ADHybridHealthService")],
    );
    for risk in [
        json!({"riskEventType": "leakedCredentials", "riskLevel": "high"}),
        json!({"category": "UserRiskEvents", "properties": {"riskEventType": "leakedCredentials"}}),
        json!({"Type": "AADUserRiskEvents", "RiskEventType": "leakedCredentials"}),
    ] {
        check_body(risk, "azure/-/riskdetection", &[("riskEventType", "leakedCredentials")]);
    }
    let alert = "staleSignInAlertIncident";
    let incident = json!({"@odata.type": format!("#microsoft.graph.{alert}"), "id": "1"});
    check_body(incident, "azure/-/pim", &[("riskEventType", alert)]);
}

#[test]
fn google_audit_logs_in_every_form() {
    let payload = json!({
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "k8s.io",
        "methodName": "io.k8s.core.v1.pods.create",
        "authorizationInfo": [{"permission": "io.k8s.core.v1.pods.create", "granted": true}]});
    let wanted = [
        ("gcp.audit.method_name", "io.k8s.core.v1.pods.create"),
        ("data.protoPayload.methodName", "io.k8s.core.v1.pods.create"),
        ("data.protoPayload.serviceName", "k8s.io"),
        ("data.protoPayload.authorizationInfo.granted", "true"),
        ("data.protoPayload.authorizationInfo.permission", "io.k8s.core.v1.pods.create"),
    ];
    let whole = [
        ("data.protoPayload.logName", "cloudaudit.googleapis.com%2Factivity"),
        ("data.protoPayload.resource.type", "k8s_cluster"),
    ];
    let entry = json!({"logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
        "resource": {"type": "k8s_cluster"}, "protoPayload": payload});
    let add_on = json!({"data": entry, "publish_time": 1.5});
    for document in [entry, add_on] {
        check_body(document.clone(), "gcp/-/gcp.audit", &wanted);
        check_body(document, "gcp/-/gcp.audit", &whole);
    }
    check_body(payload, "gcp/-/gcp.audit", &wanted);
    let mut encoded = attributes(&json!({
        "gcp.audit.service.name": "k8s.io", "gcp.audit.method.name": "io.k8s.core.v1.pods.create",
        "gcp.audit.authorization": [{"permission": "io.k8s.core.v1.pods.create", "granted": true}]}));
    encoded.resources = pairs(
        &json!({"cloud.resource_id": "cloudaudit.googleapis.com%2Factivity", "gcp.resource_type": "k8s_cluster"}),
    );
    check(&encoded, "gcp/-/gcp.audit", &wanted);
    check(&encoded, "gcp/-/gcp.audit", &whole);
}

#[test]
fn google_methods_have_the_names_of_rules() {
    for (method, name) in [
        ("v1.compute.vpnTunnels.delete", "compute.vpnTunnels.delete"),
        ("beta.compute.firewalls.insert", "v1.compute.firewalls.insert"),
        ("google.iam.admin.v1.DeleteServiceAccount", "google.iam.admin.v1.serviceAccounts.delete"),
        ("io.k8s.batch.v1.cronjobs.create", "io.k8s.api.batch.v1.CronJob"),
        (
            "io.k8s.admissionregistration.v1.mutatingwebhookconfigurations.create",
            "admissionregistration.k8s.io.v1.mutatingwebhookconfigurations.create",
        ),
        ("storage.buckets.create", "storage.buckets.insert"),
    ] {
        let entry = json!({"protoPayload": {"methodName": method, "serviceName": "x"}});
        check_body(entry.clone(), "gcp/-/gcp.audit", &[("gcp.audit.method_name", name)]);
        check_body(entry, "gcp/-/gcp.audit", &[("gcp.audit.method_name", method)]);
    }
}

#[test]
fn google_workspace_in_both_forms() {
    let parameters = json!([{"name": "SETTING_NAME", "value": "ContextAwareAccess x"}, {"name": "NEW_VALUE", "value": "false"}]);
    let wanted = [
        ("eventService", "admin.googleapis.com"),
        ("eventName", "CHANGE_APPLICATION_SETTING"),
        ("setting_name", "~ContextAwareAccess"),
        ("new_value", "false"),
    ];
    let logging = json!({"protoPayload": {"serviceName": "admin.googleapis.com", "metadata": {"event": [
        {"eventName": "CHANGE_APPLICATION_SETTING", "parameter": parameters}]}}});
    check_body(logging, "gcp/-/google_workspace.admin", &wanted);
    let activity = json!({"kind": "admin#reports#activity", "id": {"applicationName": "admin"},
        "actor": {"email": "a@x.org"},
        "events": [{"name": "CHANGE_APPLICATION_SETTING", "parameters": parameters}]});
    check_body(activity.clone(), "gcp/-/google_workspace.admin", &wanted);
    check_body(
        json!({"kind": "admin#reports#activities", "items": [activity]}),
        "gcp/-/google_workspace.admin",
        &wanted,
    );
    let login = json!({"kind": "admin#reports#activity", "id": {"applicationName": "login"},
        "actor": {"email": "a@x.org"}, "events": [{"name": "gov_attack_warning"}]});
    let wanted = [
        ("protoPayload.Servicename", "login.googleapis.com"),
        ("protoPayload.metadata.event.eventName", "gov_attack_warning"),
    ];
    check_body(login, "gcp/-/google_workspace.login", &wanted);
}

#[test]
fn kubernetes_audit_in_every_form() {
    let event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1", "stage": "ResponseComplete",
        "verb": "create", "requestURI": "/api/v1/namespaces/x/pods", "user": {"username": "eve"},
        "objectRef": {"resource": "pods", "namespace": "kube-system", "apiGroup": "apps"},
        "responseStatus": {"code": 403},
        "requestObject": {"spec": {"volumes": [{"hostPath": {"path": "/"}}], "initContainers": [
            {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}}});
    let wanted = [
        ("verb", "create"),
        ("objectRef.resource", "pods"),
        ("apiGroup", "apps"),
        ("hostPath", "/"),
        ("capabilities", "SYS_ADMIN"),
        ("responseStatus.code", "403"),
    ];
    let text = event.to_string();
    let mut bare = event.clone();
    for left_out in ["kind", "apiVersion", "auditID", "stage"] {
        bare.as_object_mut().unwrap().remove(left_out);
    }
    for document in [
        event.clone(),
        bare.clone(),
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event]}),
        json!({"messageType": "DATA_MESSAGE", "logGroup": "/aws/eks/c/cluster", "logEvents": [
            {"id": "1", "timestamp": 1, "message": text}]}),
        json!({"category": "kube-audit", "operationName": "x", "properties": {"log": text}}),
        json!({"log": format!("{text}\n"), "stream": "stdout", "time": "2026-08-05T10:15:30Z"}),
    ] {
        check_body(document, "kubernetes/application/audit", &wanted);
    }
    // A JSON parser of the pipeline leaves objects as JSON text.
    check(&attributes(&bare), "kubernetes/application/audit", &wanted);
}

#[test]
fn microsoft_365() {
    let rule = json!({
        "Operation": "New-InboxRule", "Workload": "Exchange", "RecordType": 1, "ResultStatus": "True",
        "Parameters": [{"Name": "ForwardTo", "Value": "eve@evil.org"}]});
    let wanted = [
        ("Operation", "New-InboxRule"),
        ("Parameters", "~ForwardTo"),
        ("eventSource", "Exchange"),
        ("eventName", "New-InboxRule"),
        ("status", "success"),
    ];
    check_body(rule.clone(), "m365/-/exchange", &wanted);
    check_body(json!({"RecordType": 1, "AuditData": rule.to_string()}), "m365/-/audit", &wanted);
    let alert = [
        ("eventSource", "SecurityComplianceCenter"),
        ("eventName", "Impossible travel activity"),
        ("status", "success"),
    ];
    for document in [
        json!({"Workload": "SecurityComplianceCenter", "Operation": "AlertTriggered",
            "Name": "Impossible travel activity", "Status": "Active"}),
        json!({"vendorInformation": {"provider": "MCAS"}, "title": "Impossible travel activity"}),
        json!({"serviceSource": "microsoftDefenderForCloudApps", "title": "Impossible travel activity"}),
        json!({"eventSource": "SecurityComplianceCenter", "eventName": "Impossible travel activity",
            "status": "success"}),
    ] {
        check_body(document, "m365/-/threat_management", &alert);
    }
    let login = json!({"Operation": "UserLoggedIn", "Workload": "AzureActiveDirectory",
        "ExtendedProperties": [{"Name": "RequestType", "Value": "Cmsi:Cmsi"}]});
    check_body(login, "m365/-/audit", &[("RequestType", "Cmsi:Cmsi")]);
}

#[test]
fn identity_providers_code_hosting_and_honeypots() {
    let okta = json!({"eventType": "user.session.start", "actor": {"alternateId": "a@x.org"},
        "target": [{"displayName": "Okta Admin Console"}], "securityContext": {"isProxy": true},
        "debugContext": {"debugData": {"behaviors": "{New IP=POSITIVE}"}}});
    let wanted = [
        ("eventType", "user.session.start"),
        ("target.displayName", "Okta Admin Console"),
        ("securityContext.isProxy", "true"),
        ("debugContext.debugData.behaviors", "~POSITIVE"),
    ];
    check_body(okta.clone(), "okta/-/okta", &wanted);
    let hook = json!({"eventType": "com.okta.event_hook", "data": {"events": [okta]}});
    check_body(hook, "okta/-/okta", &wanted);
    let duo = json!({"event_type": "authentication", "factor": "sms", "reason": "bypass_user"});
    check_body(duo, "cisco/-/duo", &[("reason", "bypass_user")]);
    let onelogin = json!({"event_type_id": 3, "user_id": 1});
    check_body(onelogin, "onelogin/-/onelogin.events", &[("event_type_id", "3")]);
    let github = json!({"action": "repo.archived", "actor": "eve", "@timestamp": 1});
    check_body(github, "github/-/audit", &[("action", "repo.archived")]);
    let bitbucket = json!({"auditType": {"action": "User login failed", "category": "Authentication"}});
    check_body(bitbucket, "bitbucket/-/audit", &[("auditType.category", "Authentication")]);
    let canary = r#"{"dst_port": 22, "logtype": 4002, "node_id": "opencanary-1", "src_host": "10.0.0.1"}"#;
    check(&body(canary), "opencanary/application/-", &[("logtype", "4002")]);
    let line = format!("Aug  5 10:15:30 trap opencanaryd[7]: {canary}");
    check(&body(&line), "opencanary/application/-", &[("logtype", "4002")]);
}

#[test]
fn macos_processes_and_files() {
    let exec = json!({"schema_version": 1, "event_type": 9,
        "process": {"executable": {"path": "/bin/zsh"}, "audit_token": {"pid": 1}, "ppid": 1},
        "event": {"exec": {"args": ["osascript", "-e", "x y"], "cwd": {"path": "/tmp"}, "target": {
            "executable": {"path": "/usr/bin/osascript"}, "signing_id": "com.apple.osascript",
            "audit_token": {"pid": 7, "euid": 501}, "ppid": 1}}}});
    let wanted = [
        ("Image", "/usr/bin/osascript"),
        ("CommandLine", "osascript -e x y"),
        ("ParentImage", "/bin/zsh"),
        ("CurrentDirectory", "/tmp"),
        ("User", "501"),
    ];
    check_body(exec, "macos/process_creation/-", &wanted);
    let create = |destination: Json| {
        json!({"process": {"executable": {"path": "/usr/bin/curl"}, "audit_token": {"pid": 1}},
            "event": {"create": {"destination": destination}}})
    };
    let wanted = [("TargetFilename", "/Library/LaunchDaemons/x.plist"), ("Image", "/usr/bin/curl")];
    let new =
        json!({"new_path": {"dir": {"path": "/Library/LaunchDaemons"}, "filename": "x.plist", "mode": 420}});
    check_body(create(new), "macos/file_event/-", &wanted);
    let existing = json!({"existing_file": {"path": "/Library/LaunchDaemons/x.plist"}});
    check_body(create(existing), "macos/file_event/-", &wanted);
    let columns =
        json!({"path": "/bin/ls", "cmdline": "ls -la", "parent": "1", "pid": "2", "username": "bob"});
    let wanted = [("Image", "/bin/ls"), ("CommandLine", "ls -la"), ("User", "bob")];
    let osquery = json!({"name": "pack_x_es_process_events", "columns": columns, "action": "added"});
    check_body(osquery, "macos/process_creation/-", &wanted);
    let text = json!({"name": "process_events", "columns": columns, "action": "added"}).to_string();
    let mut record = body(&text);
    for (system, logsource) in [("darwin", "macos/process_creation/-"), ("linux", "linux/process_creation/-")]
    {
        record.resources = pairs(&json!({"os.type": system}));
        check(&record, logsource, &wanted);
    }
    let santa = "[2026-08-05T10:15:30.000Z] I santad: action=EXEC|decision=ALLOW|reason=BINARY|sha256=0|\
        path=/bin/ls|args=/bin/ls -la|pid=7|pidversion=1|ppid=1|uid=501|user=bob|gid=20|mode=M";
    let wanted = [("Image", "/bin/ls"), ("CommandLine", "/bin/ls -la"), ("User", "bob")];
    check(&body(santa), "macos/process_creation/-", &wanted);
}

#[test]
fn names_of_the_conventions_and_of_ecs() {
    let process = json!({"process.executable.path": "/usr/bin/curl", "process.command_args": ["curl", "-k"],
        "process.pid": 7, "user.name": "bob", "process.working_directory": "/tmp"});
    let wanted = [("Image", "/usr/bin/curl"), ("CommandLine", "curl -k"), ("User", "bob")];
    check(&attributes(&process), "linux/process_creation/-", &wanted);
    check_body(process.clone(), "linux/process_creation/-", &wanted);
    let mut on_mac = attributes(&process);
    on_mac.body = Cow::Borrowed("process started");
    on_mac.resources = pairs(&json!({"os.type": "darwin"}));
    check(&on_mac, "macos/process_creation/-", &wanted);
    let ecs = json!({"event": {"category": ["process"], "type": ["start"]}, "host": {"os": {"type": "windows"}},
        "process": {"executable": "C:\\Windows\\cmd.exe", "args": ["cmd", "/c", "x"],
            "pe": {"original_file_name": "Cmd.Exe"}, "parent": {"executable": "C:\\a.exe"}},
        "user": {"domain": "CORP", "name": "bob"}});
    let wanted = [
        ("Image", "C:\\Windows\\cmd.exe"),
        ("CommandLine", "cmd /c x"),
        ("ParentImage", "C:\\a.exe"),
        ("OriginalFileName", "Cmd.Exe"),
        ("User", "CORP\\bob"),
    ];
    check_body(ecs, "windows/process_creation/-", &wanted);
    let registry = json!({"event": {"category": "registry", "type": "change"},
        "registry": {"path": "HKLM\\Software\\x", "data": {"strings": ["calc.exe"]}}});
    let wanted = [("TargetObject", "HKLM\\Software\\x"), ("Details", "calc.exe")];
    check_body(registry, "windows/registry_set/-", &wanted);
    let tetragon = json!({"process_exec": {"process": {"binary": "/usr/bin/id", "arguments": "-u", "cwd": "/"},
        "parent": {"binary": "/bin/sh", "arguments": "-c id"}}, "node_name": "n1"});
    let wanted = [("CommandLine", "/usr/bin/id -u"), ("ParentCommandLine", "/bin/sh -c id")];
    check_body(tetragon, "linux/process_creation/-", &wanted);
    let tracee = json!({"eventName": "sched_process_exec", "args": [
        {"name": "pathname", "value": "/usr/bin/id"}, {"name": "argv", "value": ["id", "-u"]}]});
    let wanted = [("Image", "/usr/bin/id"), ("CommandLine", "id -u")];
    check_body(tracee, "linux/process_creation/-", &wanted);
}

#[test]
fn a_document_tells_its_host() {
    for document in [
        json!({"host": {"name": "lin01"}, "agent": {"type": "auditbeat"}}),
        json!({"hostIdentifier": "lin01", "name": "x", "action": "added"}),
        json!({"node_name": "lin01", "process_exec": {"process": {"binary": "/usr/bin/id"}}}),
    ] {
        let text = document.to_string();
        let mut record = body(&text);
        record.resources = pairs(&json!({"host.name": "relay"}));
        assert_eq!(TAXONOMY.events(&record)[0].host, "lin01", "{text}");
    }
}

#[test]
fn requests_of_two_generations_are_a_web_servers_log() {
    let wanted = [
        ("cs-method", "GET"),
        ("cs-uri-query", "/a/b?x=1"),
        ("cs-uri-stem", "/a/b"),
        ("sc-status", "200"),
        ("cs-user-agent", "sqlmap"),
        ("c-ip", "10.0.0.1"),
    ];
    let new = json!({"http.request.method": "GET", "url.path": "/a/b", "url.query": "x=1",
        "http.response.status_code": 200, "user_agent.original": "sqlmap", "client.address": "10.0.0.1"});
    check(&attributes(&new), "-/webserver/-", &wanted);
    let old = json!({"http.method": "GET", "http.target": "/a/b?x=1", "http.status_code": 200,
        "http.user_agent": "sqlmap", "net.peer.ip": "10.0.0.1"});
    check(&attributes(&old), "-/webserver/-", &wanted);
    let mut program = attributes(&new);
    program.resources = pairs(&json!({"telemetry.sdk.language": "python"}));
    check(&program, "-/webserver/-", &wanted);
    check(&program, "python/application/-", &[]);
    let header =
        json!({"http.request.method": "GET", "url.path": "/", "http.request.header.referer": ["http://x/"]});
    check(&attributes(&header), "-/webserver/-", &[("cs-referer", "http://x/")]);
}

#[test]
fn programs_are_known_by_their_language_or_their_words() {
    for (text, logsource) in [
        ("Traceback (most recent call last):\n  File \"a.py\"\nDataError: x", "python/application/-"),
        ("ActionController::BadRequest (x)", "ruby_on_rails/application/-"),
        ("Error: x\n    at Object.<anonymous> (node:internal/x)", "nodejs/application/-"),
        ("Exception in thread \"main\" java.lang.IllegalState", "jvm/application/-"),
    ] {
        check(&body(text), logsource, &[]);
    }
    let mut record = body("psycopg2.OperationalError");
    record.resources = pairs(&json!({"telemetry.sdk.language": "python"}));
    check(&record, "django/application/-", &[]);
    record.resources = pairs(&json!({"k8s.container.name": "shop"}));
    check(&record, "sql/application/-", &[]);
    let statement = attributes(&json!({"db.query.text": "DROP TABLE x", "db.system": "postgresql"}));
    check(&statement, "-/database/-", &[]);
    let flow = json!({"flow.type": "netflow_v5", "destination.port": 8080, "source.address": "10.0.0.1"});
    check(&attributes(&flow), "-/-/netflow", &[("destination.port", "8080")]);
}

#[test]
fn rpc_firewall_names_no_data() {
    let data: Vec<Json> = [
        "f",
        "7",
        "C:\\x.exe",
        "ncacn_np",
        "\\pipe\\x",
        "10.0.0.1",
        "e3514235-4b06-11d1-ab04-00c04fc2dcd2",
        "3",
        "CORP\\eve",
    ]
    .iter()
    .map(|text| json!({"": text}))
    .collect();
    let event = json!({"channel": "RPCFW", "computer": "dc1", "event_id": {"id": 3, "qualifiers": 0},
        "provider": {"name": "RPCFW"}, "event_data": {"data": data}});
    let wanted = [
        ("EventLog", "RPCFW"),
        ("EventID", "3"),
        ("InterfaceUuid", "e3514235-4b06-11d1-ab04-00c04fc2dcd2"),
        ("OpNum", "3"),
    ];
    check_body(event, "rpc_firewall/application/-", &wanted);
}
