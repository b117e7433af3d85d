//! Any other JSON: documents of clouds and services, lists of them, wrapped lines.
#![no_main]

const BEGINNINGS: &[&str] = &[
    r##""##,
    r##"{"Records":["##,
    r##"{"kind":"EventList","items":["##,
    r##"{"logGroup":"g","logEvents":[{"message":""##,
    r##"{"eventSource":"iam.amazonaws.com","eventName":""##,
    r##"{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":""##,
    r##"{"log":""##,
    r##"[{"##,
    r##"{"detail-type":"AWS API Call via CloudTrail","detail":{"##,
    r##"{"category":"kube-audit","properties":{"log":"{"##,
    r##"{"message":{"data":"eyJhIjoxfQ=="},"subscription":""##,
    r##"{"category":"AuditLogs","properties":{"loggedByService":"x","targetResources":[{"modifiedProperties":[{"##,
    r##"{"category":"SignInLogs","properties":{"status":{"errorCode":0},"networkLocationDetails":["##,
    r##"{"Workload":"Exchange","Operation":"New-InboxRule","Parameters":[{"Name":"a","Value":""##,
    r##"{"eventName":"sched_process_exec","args":[{"name":"pathname","value":""##,
    r##"{"protoPayload":{"methodName":"io.k8s.batch.v1."##,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| otel_log_ai_fuzz::body(BEGINNINGS, &[], data));
