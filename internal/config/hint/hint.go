// Package hint turns messages of prometheus/config and of the libraries below it into advice: what to write instead,
// and which key the user probably meant.
package hint

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// SupportedDiscoveries are the kinds of service discovery that envoy-scraper has.
var SupportedDiscoveries = []string{"kubernetes_sd_configs", "static_configs", "file_sd_configs", "http_sd_configs"}

// unknownField is the message of yaml.v2 about a key that the type does not have.
var unknownField = regexp.MustCompile(`^field (.+) not found in type `)

// fixes has a fix for each message that contains message. The first match counts.
var fixes = []struct{ message, fix string }{
	{"error parsing regexp", "correct the regular expression (RE2 syntax)"},
	{`not a valid duration string: "-`, "remove the sign: a time cannot be negative"},
	{"not a valid duration", "write a number and a unit, as 15s or 1m30s"},
	{"unit \"", "write a number and a unit, as 15s or 1m30s"},
	{"in duration", "write a number and a unit, as 15s or 1m30s"},
	{"unknown Kubernetes SD role", "write one of pod, service, endpoints, endpointslice, node, ingress"},
	{"unknown relabel action",
		"write one of replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, " +
			"labelkeep, lowercase, uppercase"},
	{"requires 'target_label'", "add target_label"},
	{"not a valid hostname", "write host:port; put the scheme into scheme and the path into metrics_path"},
	{"at most one of", "keep one of them"},
	{"already set in", "remove one of the two"},
	{"scrape timeout greater", "make the timeout shorter than the interval"},
	{"job_name is empty", "give the job a unique job_name"},
	{"multiple scrape configs with job name", "rename one of the jobs"},
	{"multiple remote write configs", "rename one of the two"},
	{"url for remote_write is empty", "add the receiver's url, as http://prometheus:9090/api/v1/write"},
	{"min_shards must not be greater", "write a smaller number"},
	{"role missing", "add role: pod"},
	{"empty or null", "complete the entry, or remove it"},
	{"into map[", "write a mapping, as {name: value}"},
	{"cannot unmarshal !!seq", "write a single value here, not a list"},
	{"cannot unmarshal !!map", "remove the keys below it, or correct their indentation"},
	{"into bool", "write true or false"},
	{"into uint", "write a whole number of at least 0"},
	{"into int", "write a whole number"},
	{"into []", "write a list: one line that starts with - for each entry"},
	{"cannot unmarshal", "write a value of the type that the key takes"},
}

// For returns the reason and the fix to report for a message. own is a value of the type of our own block.
func For(msg string, own any) (why, fix string) {
	if m := unknownField.FindStringSubmatch(msg); m != nil {
		return UnknownKey(m[1], own)
	}
	if strings.HasPrefix(msg, "cannot unmarshal !!map into []") {
		return "a mapping, where a list belongs", "begin each entry with - "
	}
	for _, f := range fixes {
		if strings.Contains(msg, f.message) {
			return msg, f.fix
		}
	}
	return msg, "correct the value, or remove the key to get the default"
}

// UnknownKey returns the reason and the fix to report for a key that does not exist where it was written.
func UnknownKey(key string, own any) (why, fix string) {
	switch near := NearestKey(key, own); near {
	case "":
		return "unknown key", "remove it; if it exists in the documentation, check the indentation"
	case key:
		if slices.Contains(keysOfJobs, key) {
			return "this key does not exist here", "write it into envoy_scraper.jobs, in an entry with the job's name"
		}
		if key == "aggregate" {
			return "this key does not exist here", "write it below envoy_scraper, with the job's name in jobs"
		}
		return "this key does not exist here, but at another level", "correct the indentation"
	default:
		return "unknown key", "did you mean " + near + "? otherwise remove it"
	}
}

// keysOfJobs are our own keys about a job, which a user may look for in the job itself.
var keysOfJobs = []string{"push_down", "pace"}

// NearestKey returns the key of a configuration file that differs from key by at most two letters, fewer for a short
// key. It returns "" if there is none.
func NearestKey(key string, own any) string {
	best, bestDistance := "", 3 // one more than the largest distance that counts
	switch {
	case len(key) < 3:
		bestDistance = 1
	case len(key) < 6:
		bestDistance = 2
	}
	known := map[string]bool{"targets": true, "labels": true} // of static_configs, whose type has no yaml tags
	for _, name := range SupportedDiscoveries {
		known[name] = true
	}
	seen := map[reflect.Type]bool{}
	for _, t := range []reflect.Type{
		reflect.TypeFor[promconfig.Config](), reflect.TypeFor[kubernetes.SDConfig](), reflect.TypeFor[file.SDConfig](),
		reflect.TypeFor[http.SDConfig](), reflect.TypeFor[targetgroup.Group](), reflect.TypeOf(own),
	} {
		collectKeys(t, known, seen)
	}
	for k := range known {
		d := Distance(key, k)
		if d < bestDistance || d == bestDistance && best != "" && k < best {
			best, bestDistance = k, d
		}
	}
	return best
}

// collectKeys adds the yaml keys of a type, and of the types of its fields, to known.
func collectKeys(t reflect.Type, known map[string]bool, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			known[name] = true
		}
		collectKeys(f.Type, known, seen)
	}
}

// Distance returns how many letters have to be inserted, removed or changed to make b from a (Levenshtein distance).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
