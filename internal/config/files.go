package config

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/common/config"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// fileKeys are the keys whose value is the path of a file.
var fileKeys = map[string]bool{
	"ca_file": true, "cert_file": true, "key_file": true, "password_file": true, "username_file": true,
	"credentials_file": true, "bearer_token_file": true, "client_secret_file": true,
	"client_certificate_key_file": true,
	"kubeconfig_file":             true, "credentials_file_path": true,
}

// missingFile returns the severity of a missing file. The file may be created before it is needed, so this is an error
// only with Strict, and for ca_file: a client cannot be created without its CA.
func (l *loader) missingFile(key string) Severity {
	if l.opts.Strict || key == "ca_file" && !l.opts.Check {
		return SeverityError
	}
	return SeverityWarning
}

// checkFiles reports files that the configuration names and that do not exist.
func (l *loader) checkFiles(src *source) {
	for _, j := range l.jobs {
		l.checkFilesBelow(j.src, jobName(j.node), j.node, j.path)
	}
	for _, r := range l.remotes {
		l.checkFilesBelow(src, "", r.node, r.path)
	}
	if k := l.opts.Kubeconfig; k != "" {
		if _, err := os.Stat(k); err != nil {
			l.add(Problem{Severity: l.missingFile(""), File: flagKubeconfig, Value: k, Why: withoutPath(err),
				Fix: "correct the path"})
		}
	}
}

func (l *loader) checkFilesBelow(src *source, job string, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			l.checkFilesBelow(src, job, c, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			at := yamltree.Join(path, key.Value)
			switch {
			case key.Value == "file_sd_configs":
				l.checkPatterns(src, job, value, at)
			case fileKeys[key.Value] && value.Kind == yaml.ScalarNode && value.Value != "":
				if _, err := os.Stat(config.JoinDir(src.dir, value.Value)); err != nil {
					l.add(Problem{Severity: l.missingFile(key.Value), File: src.name, Line: key.Line, Job: job,
						Key: at, Value: l.show(value, ""),
						Why: withoutPath(err), Fix: "correct the path, which is relative to this file, or provide " +
							"the file"})
				}
			default:
				l.checkFilesBelow(src, job, value, at)
			}
		}
	}
}

// checkPatterns warns about file_sd_configs whose pattern matches no file. The file may be created later.
func (l *loader) checkPatterns(src *source, job string, list *yaml.Node, path string) {
	for i, sd := range yamltree.Items(list) {
		for k, pattern := range yamltree.Items(yamltree.Get(sd, "files")) {
			found, err := filepath.Glob(config.JoinDir(src.dir, pattern.Value))
			if err == nil && len(found) == 0 {
				l.add(Problem{Severity: SeverityWarning, File: src.name, Line: pattern.Line, Job: job,
					Key: fmt.Sprintf("%s[%d].files[%d]", path, i, k), Value: l.show(pattern, ""),
					Why: "no file has this name yet", Fix: "correct the path, which is relative to this file, or " +
						"provide the file"})
			}
		}
	}
}
