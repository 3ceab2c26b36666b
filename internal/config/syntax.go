package config

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

const (
	// maxSyntaxBytes is the largest text that is searched for its first invalid line. For larger texts the line of the
	// parser is reported.
	maxSyntaxBytes = 1 << 20
	// maxOpenLines is the longest list or text in brackets or quotes, in lines, that the search recognizes as valid.
	maxOpenLines = 40
)

// syntaxProblem describes a syntax error. The parser names the line where the enclosing block starts, which may be
// hundreds of lines above. The first invalid line is more useful.
func syntaxProblem(name string, data []byte, err error) Problem {
	said := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{File: name, Why: "not valid YAML: " + yamlLine.ReplaceAllString(said, "")}
	var text []byte
	if len(data) <= maxSyntaxBytes {
		p.Line, text = firstInvalidLine(data)
	}
	if p.Line == 0 {
		p.Line = lineInMessage(said)
	}
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	switch {
	case bytes.ContainsRune(indent, '\t'):
		p.Fix = "indent this line with spaces instead of tabs"
	case strings.Contains(said, "did not find expected ',' or") || strings.Contains(said, "unexpected end of stream"):
		p.Fix = "close the quotes or brackets that start on this line"
	default:
		p.Fix = "correct the indentation or the quotes on this line or above it"
	}
	return p
}

// firstInvalidLine returns the number, from 1, and the text of the first line with which the text up to there is
// invalid YAML, and stays so with the lines that follow. It returns 0 if there is none. A text that ends within
// brackets or quotes is invalid although later lines complete it, so a single binary search does not suffice.
func firstInvalidLine(data []byte) (int, []byte) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	ends := make([]int, len(lines)+1)
	for i, line := range lines {
		ends[i+1] = ends[i] + len(line)
	}
	good := func(n int) bool { return yaml.Unmarshal(data[:ends[n]], new(yaml.Node)) == nil }
	known := 0
	for {
		bad := len(lines)
		for known+1 < bad {
			if middle := (known + bad) / 2; good(middle) {
				known = middle
			} else {
				bad = middle
			}
		}
		later := 0
		for n := min(bad+maxOpenLines, len(lines)-1); n > bad && later == 0; n-- {
			if good(n) {
				later = n
			}
		}
		if later == 0 {
			return bad, lines[bad-1]
		}
		known = later
	}
}

// lineInMessage returns the line number at the start of a message, or 0.
func lineInMessage(msg string) int {
	var line int
	_, _ = fmt.Sscanf(msg, "line %d:", &line)
	return line
}

// secondDocument returns the line of a second YAML document, or 0.
func secondDocument(data []byte) int {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var first, next yaml.Node
	if d.Decode(&first) != nil {
		return 0
	}
	if err := d.Decode(&next); err == io.EOF || yamltree.IsEmpty(&next) {
		return 0
	}
	return max(1, next.Line)
}

// refuseManifest reports a Kubernetes object, with advice where its configuration is. It returns false for anything
// else.
func (l *loader) refuseManifest(src *source) bool {
	kind := yamltree.Get(src.root, "kind")
	if kind == nil || kind.Kind != yaml.ScalarNode || yamltree.Get(src.root, "apiVersion") == nil {
		return false
	}
	p := Problem{File: src.name, Line: yamltree.Line(src.root, "kind"), Key: "kind", Value: l.show(kind, ""),
		Why: "this is a Kubernetes object, not a configuration"}
	switch kind.Value {
	case "PodMonitor", "ServiceMonitor":
		p.Fix = "copy the job that Prometheus generates from it (see Prometheus' page /config) into a file, and " +
			"name that file"
	case "ConfigMap", "Secret":
		p.Fix = "write its data into a file, and name that file"
	default:
		p.Fix = "name a file that holds a configuration, or a list of jobs"
	}
	l.add(p)
	return true
}
