package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// unusedGlobals are keys of global that an agent does not use, with their subject.
var unusedGlobals = map[string]string{
	"evaluation_interval": "rules", "rule_query_offset": "rules",
	"query_log_file": "queries", "query_max_series": "queries", "query_max_samples_read": "queries",
	"query_max_duration": "queries",
}

// secretHolders are blocks of an HTTP client and their keys that name a secret of a secret manager. Prometheus reads
// these keys but has no secret manager either: it fails when it creates the client.
var secretHolders = map[string][]string{
	"basic_auth":    {"username_ref", "password_ref"},
	"authorization": {"credentials_ref"},
	"oauth2":        {"client_secret_ref", "client_certificate_key_ref"},
	"tls_config":    {"ca_ref", "cert_ref", "key_ref"},
}

// checkKeys warns about keys without effect, and refuses keys that name a secret of a secret manager.
func (l *loader) checkKeys(src *source) {
	for key, about := range unusedGlobals {
		if value := yamltree.Get(src.root, "global", key); value != nil {
			l.add(Problem{Severity: SeverityWarning, File: src.name, Line: yamltree.Line(src.root, "global", key),
				Key:   "global." + key,
				Value: l.show(value, ""), Why: fmt.Sprintf("not used: it is about %s, which need a "+
					"database", about), Fix: "remove it to avoid this warning"})
		}
	}
	for _, r := range l.remotes {
		if value := yamltree.Get(r.node, "queue_config", "capacity"); value != nil {
			l.add(Problem{Severity: SeverityWarning, File: src.name,
				Line: yamltree.Line(r.node, "queue_config", "capacity"), Key: r.path + ".queue_config.capacity",
				Value: l.show(value, ""), Why: "not used: the backlog is on disk",
				Fix: "set envoy_scraper.queue.max_bytes instead, and remove this key"})
		}
		l.refuseReferences(src, "", r.node, r.path)
	}
	for _, j := range l.jobs {
		l.refuseReferences(j.src, jobName(j.node), j.node, j.path)
	}
}

// refuseReferences checks the HTTP client n and the HTTP clients of its discoveries.
func (l *loader) refuseReferences(src *source, job string, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		at := yamltree.Join(path, name)
		for _, key := range secretHolders[name] {
			if yamltree.Get(value, key) != nil {
				l.add(Problem{File: src.name, Line: yamltree.Line(value, key), Job: job, Key: yamltree.Join(at, key),
					Why: "names a secret of a secret manager, which envoy-scraper does not have",
					Fix: "put the secret into a file, and use the key that ends in _file"})
			}
		}
		if secretHolders[name] != nil {
			l.refuseReferences(src, job, value, at) // tls_config of oauth2
		}
		for k, sd := range yamltree.Items(value) {
			if name == "kubernetes_sd_configs" || name == "http_sd_configs" {
				l.refuseReferences(src, job, sd, fmt.Sprintf("%s[%d]", at, k))
			}
		}
	}
}
