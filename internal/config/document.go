package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// source is one file.
type source struct {
	name string // as the user named it
	dir  string // directory for its relative paths
	root *yaml.Node
}

// operatorKey is the key of the Prometheus Operator for a list of jobs. Much documentation prints jobs under it.
const operatorKey = "additionalScrapeConfigs"

var yamlLine = regexp.MustCompile(`line (\d+): `)

// open reads and parses a file. It reports errors and then returns nil.
func (l *loader) open(name string) *source {
	data, err := os.ReadFile(name)
	if err != nil {
		l.add(Problem{Severity: SeverityError, File: name, Why: "read: " + withoutPath(err),
			Fix: "correct the name, or the file's permissions"})
		return nil
	}
	return l.parse(name, filepath.Dir(name), data)
}

// parse parses the text of a file and expands its aliases. It reports errors and then returns nil.
func (l *loader) parse(name, dir string, data []byte) *source {
	src := &source{name: name, dir: dir, root: yamltree.Mapping()}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		l.add(syntaxProblem(name, data, err))
		return nil
	}
	if len(doc.Content) == 1 {
		root, err := yamltree.Flatten(doc.Content[0])
		if err != nil {
			l.add(Problem{File: name, Line: lineInMessage(err.Error()), Why: "not valid YAML: " +
				yamlLine.ReplaceAllString(err.Error(), ""),
				Fix: "write the values out"})
			return nil
		}
		src.root = root
	}
	if line := secondDocument(data); line > 0 {
		l.add(Problem{Severity: SeverityWarning, File: name, Line: line,
			Why: "a second YAML document starts here; only the first is read, as in Prometheus",
			Fix: "remove the line ---, or the second document"})
	}
	if yamltree.IsEmpty(src.root) {
		src.root = yamltree.Mapping()
	}
	return src
}

// normalize converts a list of jobs, and jobs under operatorKey, to the form of a Prometheus file. It returns false
// after an error.
func (l *loader) normalize(src *source) bool {
	switch src.root.Kind {
	case yaml.SequenceNode:
		jobs := src.root
		key := yamltree.String("scrape_configs")
		key.Line = jobs.Line
		src.root = yamltree.Mapping(key, jobs)
	case yaml.MappingNode:
		if l.refuseManifest(src) {
			return false
		}
		at := yamltree.Index(src.root, operatorKey)
		if at < 0 {
			return true
		}
		key, jobs := src.root.Content[2*at], src.root.Content[2*at+1]
		p := Problem{Severity: SeverityError, File: src.name, Line: key.Line, Key: operatorKey}
		switch {
		case yamltree.Index(src.root, "scrape_configs") >= 0:
			p.Why, p.Fix = "the file has scrape_configs too", "move all jobs below one of the two keys"
		case jobs.Kind == yaml.MappingNode:
			p.Why, p.Fix = "this is a reference to a Secret, not a list of jobs",
				"copy the list of jobs from the Secret to this file"
		default:
			key.Value = "scrape_configs"
			return true
		}
		l.add(p)
		return false
	default:
		l.add(Problem{Severity: SeverityError, File: src.name, Line: src.root.Line,
			Why: "neither a mapping nor a list of jobs",
			Fix: "begin with scrape_configs:, " + operatorKey + ": or - job_name:"})
		return false
	}
	return true
}

// topKeys are the top-level keys of a Prometheus file, with the reason if an agent does not use the key.
var topKeys = map[string]string{
	"global": "", "runtime": "", "scrape_configs": "", "scrape_config_files": "", "remote_write": "",
	"storage": "there is no local database", "tracing": "no traces are sent", "otlp": "OTLP is not received",
	"rule_files": "rules are evaluated", "alerting": "alerts are sent", "remote_read": "queries are answered",
}

// checkTopLevel checks the top-level keys, reads our own block, and removes the keys that an agent does not use.
func (l *loader) checkTopLevel(src *source) {
	kept := yamltree.Mapping()
	seen := map[string]bool{}
	for i := 0; i+1 < len(src.root.Content); i += 2 {
		key, value := src.root.Content[i], src.root.Content[i+1]
		name := key.Value
		p := Problem{Severity: SeverityError, File: src.name, Line: key.Line, Key: name}
		use, known := topKeys[name]
		switch {
		case seen[name]:
			p.Why, p.Fix = "duplicate key", "merge the two"
			l.add(p)
		case name == extensionKey:
			l.readExtension(src, key, value)
		case !known:
			p.Why, p.Fix = "unknown key",
				"remove it, or correct it to one of "+strings.Join(append(slices.Sorted(maps.Keys(topKeys)),
					extensionKey), ", ")
			if near := hint.NearestKey(name, Extension{}); near != "" {
				p.Why, p.Fix = hint.UnknownKey(name, Extension{})
			}
			l.add(p)
		case name == "rule_files" || name == "alerting" || name == "remote_read":
			if name == "alerting" && value.Kind == yaml.MappingNode &&
				yamltree.IsEmpty(yamltree.Get(value, "alertmanagers")) &&
				yamltree.IsEmpty(yamltree.Get(value, "alert_relabel_configs")) {
				l.checkTop(src, key.Value, value) // an empty block, as Prometheus writes it
			} else if !yamltree.IsEmpty(value) {
				p.Why = fmt.Sprintf("not allowed here, as in Prometheus' agent mode: %s by the Prometheus that "+
					"receives the samples", use)
				p.Fix = "move it to that Prometheus"
				l.add(p)
			}
		case name == "storage" || name == "tracing" || name == "otlp":
			l.checkTop(src, key.Value, value)
			if !yamltree.IsEmpty(value) {
				p.Severity = SeverityWarning
				p.Why, p.Fix = "not used: "+use, "remove it to avoid this warning"
				l.add(p)
			}
		default:
			kept.Content = append(kept.Content, key, value)
		}
		seen[name] = true
	}
	src.root = kept
}

// withoutPath returns the reason of a file error. The message names the path already.
func withoutPath(err error) string {
	msg := err.Error()
	if i := strings.LastIndex(msg, ": "); i >= 0 {
		return msg[i+2:]
	}
	return msg
}
