//! Recordings and policies of the namespace `shop`.

use serde_json::{Value, json};

/// A recording of a run of `shop/Deployment/<app>`, watched whole; each line as its own fields.
pub(crate) fn recording(app: &str, run: &str, lines: &[Value]) -> String {
    let start = json!({"op": "start"});
    let lines = [start].into_iter().chain(lines.iter().cloned());
    let text = lines.map(|fields| {
        let mut line = json!({
            "run": run, "namespace": "shop", "kind": "Deployment", "workload": app,
            "container": app, "labels": {"app": app}, "image": "", "at": "2026-11-23T01:02:03Z",
        });
        let all = line.as_object_mut().expect("an object");
        all.extend(fields.as_object().expect("an object").clone());
        format!("{line}\n")
    });
    text.collect()
}

pub(crate) fn open(source: &str, path: &str, access: &str) -> Value {
    json!({
        "op": "open", "source": source, "path": path, "access": access, "uid": 0, "owner": true,
        "tty": false, "result": "ok", "count": 3,
    })
}

/// A policy for the pods of `app` in the namespace `shop`.
pub(crate) fn policy(name: &str, app: &str, rules: &str) -> String {
    format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\n\
         metadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  selector: {{matchLabels: {{app: {app}}}}}\n  {rules}\n"
    )
}
