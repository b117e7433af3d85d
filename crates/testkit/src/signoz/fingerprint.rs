//! `resource_fingerprint`: the labels that name the sender, from the cloud account down to the
//! component, and a hash of all labels. Source: `utils/fingerprint/{fingerprint,hash}.go`.

/// A level of the hierarchy: the first label present stands for it.
type Level = &'static [&'static str];

const CLOUD: [Level; 6] = [
    &["cloud.provider"],
    &["cloud.account.id"],
    &["gcp.project"],
    &["cloud.region", "aws.region"],
    &["cloud.platform", "source_type"],
    &["k8s.cluster.name", "k8s.cluster.uid", "aws.ecs.cluster.arn"],
];

/// By service, down to its instance.
const SERVICE: [Level; 6] = [
    &["service.namespace", "k8s.namespace.name", "ec2.tag.service-group"],
    &[
        "service.name",
        "cloudwatch.log.group.name",
        "k8s.deployment.name",
        "k8s.deployment.uid",
        "k8s.statefulset.name",
        "k8s.statefulset.uid",
        "k8s.daemonset.name",
        "k8s.daemonset.uid",
        "k8s.job.name",
        "k8s.job.uid",
        "k8s.cronjob.name",
        "k8s.cronjob.uid",
        "faas.name",
        "ec2.tag.service",
    ],
    &["deployment.environment", "ec2.tag.env-short", "ec2.tag.env", "env"],
    &[
        "service.instance.id",
        "k8s.pod.name",
        "k8s.pod.uid",
        "aws.ecs.task.id",
        "aws.ecs.task.arn",
        "cloudwatch.log.stream",
        "cloud.resource_id",
        "faas.instance",
        "host.id",
        "host.name",
        "host.ip",
        "host",
    ],
    &["k8s.container.name", "container.name", "container_name"],
    &["component"],
];

/// By machine, where nothing of the service is known.
const MACHINE: [Level; 4] = [
    &["cloud.availability_zone"],
    &["k8s.node.name", "k8s.node.uid", "host.id", "host.name", "host.ip"],
    &["k8s.pod.name", "k8s.pod.uid", "aws.ecs.task.id", "aws.ecs.task.arn"],
    &["k8s.container.name", "container.name"],
];

/// The fingerprint of a resource's attributes.
#[must_use]
pub fn of(labels: &[(String, String)]) -> String {
    let mut out = String::new();
    walk(&CLOUD, labels, &mut out);
    if !walk(&SERVICE, labels, &mut out) {
        walk(&MACHINE, labels, &mut out);
    }
    out.push_str(&format!("hash={}", hash(labels)));
    out
}

fn walk(levels: &[Level], labels: &[(String, String)], out: &mut String) -> bool {
    let before = out.len();
    for level in levels {
        let found = level.iter().find_map(|name| labels.iter().find(|(key, _)| key == name));
        if let Some((key, value)) = found {
            out.push_str(&format!("{key}={value};"));
        }
    }
    out.len() > before
}

/// FNV-1a, 64 bits, over `key 0xFF value 0xFF` of the labels in order of their keys.
fn hash(labels: &[(String, String)]) -> u64 {
    let mut sorted: Vec<&(String, String)> = labels.iter().collect();
    sorted.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (key, value) in sorted {
        for byte in key.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// The first two stand in SigNoz's own tests, the third was computed by their code.
    #[test]
    fn golden() {
        assert_eq!(of(&labels(&[("a", "b")])), "hash=15182603570120227210");
        let service = [("service.name", "service"), ("env", "prod"), ("component", "service-component")];
        assert_eq!(
            of(&labels(&service)),
            "service.name=service;env=prod;component=service-component;hash=18170521368096690780"
        );
        let windows = [("host.name", "WIN01.corp.example"), ("os.type", "windows")];
        assert_eq!(of(&labels(&windows)), "host.name=WIN01.corp.example;hash=14711012242608814270");
        let linux = [("host.name", "lin01"), ("os.type", "linux")];
        assert_eq!(of(&labels(&linux)), "host.name=lin01;hash=5056055035195822774");
    }

    #[test]
    fn the_machine_stands_in_only_where_the_service_is_unknown() {
        let node = of(&labels(&[("k8s.node.name", "n1"), ("cloud.region", "eu")]));
        assert!(node.starts_with("cloud.region=eu;k8s.node.name=n1;hash="), "{node}");
        let pod = of(&labels(&[("k8s.node.name", "n1"), ("k8s.pod.name", "p")]));
        assert!(pod.starts_with("k8s.pod.name=p;hash="), "{pod}");
    }
}
