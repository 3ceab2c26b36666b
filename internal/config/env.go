package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// environment replaces %{NAME} in the values of a file by environment variables. It does so in the parsed tree, so a
// variable cannot change the structure. It keeps the text as written, so that no message shows the content of a
// variable. Example: with CLUSTER=east, the value "mesh-%{CLUSTER}" becomes mesh-east.
type environment struct {
	lookup  func(string) (string, bool)
	written map[*yaml.Node]string // text of a replaced value as written
	broken  map[*yaml.Node]bool   // values with an error that was reported; other errors about them are not
	report  func(n *yaml.Node, path string, p Problem)
}

// apply replaces variables in the values at and below n. escape is set below external_labels, where Prometheus expands
// ${NAME}: a $ of the variable becomes $$ there.
func (e *environment) apply(n *yaml.Node, path string, escape bool) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			e.apply(c, fmt.Sprintf("%s[%d]", path, i), escape)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			below := yamltree.Join(path, key.Value)
			if strings.Contains(key.Value, "%{") {
				e.report(key, below, Problem{Why: "%{NAME} is replaced in values, not in keys",
					Fix: "write the key out"})
			}
			e.apply(n.Content[i+1], below, escape || below == "global.external_labels")
		}
	case yaml.ScalarNode:
		if strings.Contains(n.Value, "%{") {
			e.scalar(n, path, escape)
		}
	}
}

func (e *environment) scalar(n *yaml.Node, path string, escape bool) {
	written, rest := n.Value, n.Value
	var out strings.Builder
	for {
		before, after, found := strings.Cut(rest, "%{")
		out.WriteString(before)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed || !isEnvName(name) {
			out.WriteString("%{") // not a variable, perhaps a time format
			rest = after
			continue
		}
		value, ok := e.lookup(name)
		switch {
		case !ok:
			e.broken[n] = true
			fix := fmt.Sprintf("set %s, or write the value out", name)
			if isAsPath(path) {
				fix = emptyAsFix
			}
			e.report(n, path, Problem{Value: written, Why: fmt.Sprintf("the environment variable %s is not set", name),
				Fix: fix})
		case !utf8.ValidString(value):
			e.report(n, path, Problem{Value: written,
				Why: fmt.Sprintf("the environment variable %s is not valid UTF-8", name),
				Fix: "correct the variable"})
			e.broken[n], value = true, ""
		case escape:
			value = strings.ReplaceAll(value, "$", "$$")
		}
		out.WriteString(value)
		rest = tail
	}
	if out.String() == written {
		return
	}
	e.written[n] = written
	n.Value = out.String()
	if _, tail, _ := strings.Cut(written, "}"); strings.HasPrefix(written, "%{") && tail == "" &&
		n.Style&yaml.TaggedStyle == 0 {
		n.Style, n.Tag = plainIfNumber(n.Value)
	}
}

// plainIfNumber returns the style and the tag for a value that is a single variable. YAML requires quotes around
// "%{LIMIT}", but sample_limit takes a number, so a number or a boolean loses its quotes. A key that takes a string
// accepts both.
func plainIfNumber(value string) (yaml.Style, string) {
	var plain yaml.Node
	if err := yaml.Unmarshal([]byte(value), &plain); err == nil && len(plain.Content) == 1 {
		if c := plain.Content[0]; c.Kind == yaml.ScalarNode && c.Style == 0 && c.Anchor == "" && c.Value == value {
			switch c.Tag {
			case "!!int", "!!float", "!!bool":
				return 0, c.Tag
			}
		}
	}
	return yaml.DoubleQuotedStyle, "!!str"
}

// isEnvName reports whether s has only letters, digits and underscores and does not start with a digit.
func isEnvName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
