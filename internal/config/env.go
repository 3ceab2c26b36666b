package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// envPlaces puts the environment's values where %{NAME} stands in the values of a file. Since that happens in the
// tree, a value cannot change the structure; and since the written text is kept, no message shows the value.
type envPlaces struct {
	lookup  func(string) (string, bool)
	written map[*yaml.Node]string // what stood there
	broken  map[*yaml.Node]bool   // reported already, so whatever else is said of it is no news
	report  func(n *yaml.Node, path string, p Problem)
}

// apply walks the values below n. dollars is where $ has a meaning of its own in what was written and must have none
// in what is put there: Prometheus expands ${NAME} in external labels.
func (e *envPlaces) apply(n *yaml.Node, path string, dollars bool) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			e.apply(c, fmt.Sprintf("%s[%d]", path, i), dollars)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			below := yamltree.Join(path, key.Value)
			if strings.Contains(key.Value, "%{") {
				e.report(key, below, Problem{Why: "%{NAME} is replaced in values, not in keys",
					Fix: "write the key out"})
			}
			e.apply(n.Content[i+1], below, dollars || below == "global.external_labels")
		}
	case yaml.ScalarNode:
		if strings.Contains(n.Value, "%{") {
			e.scalar(n, path, dollars)
		}
	}
}

func (e *envPlaces) scalar(n *yaml.Node, path string, dollars bool) {
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
			out.WriteString("%{") // not a variable: a time format or the like
			rest = after
			continue
		}
		value, ok := e.lookup(name)
		switch {
		case !ok:
			e.broken[n] = true
			e.report(n, path, Problem{Value: written, Why: fmt.Sprintf("the environment variable %s is not set", name),
				Fix: fmt.Sprintf("set %s, or write the value out", name)})
		case !utf8.ValidString(value):
			e.report(n, path, Problem{Value: written,
				Why: fmt.Sprintf("the environment variable %s is not valid UTF-8", name),
				Fix: "correct the variable"})
			e.broken[n], value = true, ""
		case dollars:
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

// plainIfNumber: YAML makes one quote "%{LIMIT}", but sample_limit wants a number. A value that is nothing but a
// variable is as if written without quotes if that makes it a number or a boolean; both are strings where one is wanted.
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

// isEnvName: letters, digits and underscores, no digit first.
func isEnvName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
