package graphs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
)

// Querier answers instant queries, as receiver.Receiver does.
type Querier interface {
	Query(ctx context.Context, expr string) (model.Vector, error)
}

// variable is one of a dashboard's variables, of which people choose values at the top of Grafana's page.
type variable struct {
	Name, Type, Regex string

	Query             queryText
	Multi, IncludeAll bool
	AllValue          string
	Current           struct{ Value any } // a string, or a list of them
}

// queryText is a variable's query. Grafana writes it as a string or as {"query": "…"}.
type queryText string

func (q *queryText) UnmarshalJSON(b []byte) error {
	var object struct{ Query string }
	if json.Unmarshal(b, &object) == nil {
		*q = queryText(object.Query)
		return nil
	}
	return json.Unmarshal(b, (*string)(q))
}

// builtIn holds the values of Grafana's own variables: those of a data source that is scraped every 15 seconds.
func builtIn() map[string]string {
	return map[string]string{
		"__rate_interval": "1m", "__interval": "15s", "__interval_ms": "15000", "__range": "5m", "__range_s": "300",
	}
}

// choice is one way to fill in the variables of a dashboard.
type choice struct {
	// title says which values of those variables it has of which Grafana shows one at a time. Example:
	// "namespace=bookinfo, workload=reviews-v1". It is empty if there are none.
	title  string
	values map[string]string
}

// choices returns each way to fill in the dashboard's variables. A variable that can have several values at once has
// those that Grafana shows at first.
func (d *dashboard) choices(ctx context.Context, q Querier) ([]choice, error) {
	found := []choice{{values: builtIn()}}
	for _, v := range d.Templating.List {
		var next []choice
		for _, c := range found {
			options, err := v.options(ctx, q, c.values)
			if err != nil {
				return nil, fmt.Errorf("%s: variable %s: %w", d.Title, v.Name, err)
			}
			next = append(next, v.fill(c, options)...)
		}
		found = next
	}
	return found, nil
}

// fill returns c with the variable filled in: once for each option if Grafana shows one option at a time.
func (v *variable) fill(c choice, options []string) []choice {
	if v.Multi || v.IncludeAll {
		return []choice{c.with(v.Name, v.several(options))}
	}
	if v.Type != "query" {
		value := ""
		if current := v.current(); len(current) > 0 && slices.Contains(options, current[0]) {
			value = current[0]
		} else if len(options) > 0 {
			value = options[0]
		}
		return []choice{c.with(v.Name, escape(value))}
	}
	var all []choice
	for _, option := range options {
		filled := c.with(v.Name, escape(option))
		if filled.title != "" {
			filled.title += ", "
		}
		filled.title += v.Name + "=" + option
		all = append(all, filled)
	}
	return all
}

func (c choice) with(name, value string) choice {
	values := maps.Clone(c.values)
	values[name] = value
	return choice{c.title, values}
}

// several returns a regular expression for the options that Grafana selects at first.
func (v *variable) several(options []string) string {
	selected := slices.DeleteFunc(v.current(), func(s string) bool { return !slices.Contains(options, s) })
	if len(selected) == 0 { // "$__all", or values of the data that the file's author had
		if v.AllValue != "" {
			return v.AllValue
		}
		selected = options
	}
	var quoted []string
	for _, s := range selected {
		quoted = append(quoted, escape(regexp.QuoteMeta(s)))
	}
	switch len(quoted) {
	case 0:
		return ".*"
	case 1:
		return quoted[0]
	default:
		return "(" + strings.Join(quoted, "|") + ")"
	}
}

// current returns the values that the file says are selected.
func (v *variable) current() []string {
	switch value := v.Current.Value.(type) {
	case string:
		return []string{value}
	case []any:
		var all []string
		for _, one := range value {
			all = append(all, fmt.Sprint(one))
		}
		return all
	default:
		return nil
	}
}

// escape escapes a value for a string in double quotes of PromQL.
func escape(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

var (
	labelValues = regexp.MustCompile(`^label_values\((?:(.+),)?\s*(\w+)\s*\)$`)
	queryResult = regexp.MustCompile(`(?s)^query_result\((.+)\)$`)
)

// options returns the values that Grafana offers for the variable, sorted.
func (v *variable) options(ctx context.Context, q Querier, values map[string]string) ([]string, error) {
	query := fill(string(v.Query), values)
	if v.Type != "query" {
		var options []string
		for option := range strings.SplitSeq(query, ",") {
			options = append(options, strings.TrimSpace(option))
		}
		return options, nil
	}
	var expr string
	var text func(*model.Sample) string
	if m := labelValues.FindStringSubmatch(query); m != nil {
		selector := m[1]
		if selector == "" {
			selector = fmt.Sprintf(`{%s!=""}`, m[2])
		}
		expr = fmt.Sprintf("group by (%s) (%s)", m[2], selector)
		text = func(s *model.Sample) string { return string(s.Metric[model.LabelName(m[2])]) }
	} else if m := queryResult.FindStringSubmatch(query); m != nil {
		expr = m[1]
		text = func(s *model.Sample) string {
			return fmt.Sprintf("%s %s %d", s.Metric, s.Value, int64(s.Timestamp))
		}
	} else {
		return nil, fmt.Errorf("neither label_values nor query_result: %s", query)
	}
	choose, err := chooser(v.Regex)
	if err != nil {
		return nil, err
	}
	vector, err := q.Query(ctx, expr)
	if err != nil {
		return nil, err
	}
	var options []string
	for _, s := range vector {
		if option := choose(text(s)); option != "" {
			options = append(options, option)
		}
	}
	slices.Sort(options)
	return slices.Compact(options), nil
}

// chooser returns the function that a variable's regular expression stands for. It returns the first group of a match,
// or the whole match if there is no group.
func chooser(pattern string) (func(string) string, error) {
	if pattern == "" {
		return func(s string) string { return s }, nil
	}
	re, err := regexp.Compile(strings.Trim(pattern, "/"))
	if err != nil {
		return nil, err
	}
	return func(s string) string {
		m := re.FindStringSubmatch(s)
		switch {
		case m == nil:
			return ""
		case len(m) > 1:
			return m[1]
		default:
			return m[0]
		}
	}, nil
}

// reference is a use of a variable: $name, ${name}, ${name:regex} or [[name]].
var reference = regexp.MustCompile(`\$(\w+)|\$\{(\w+)(?::\w+)?\}|\[\[(\w+)(?::\w+)?\]\]`)

// fill replaces the variables in a text. It leaves what is no variable, such as $1.
func fill(text string, values map[string]string) string {
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		m := reference.FindStringSubmatch(found)
		if value, ok := values[m[1]+m[2]+m[3]]; ok {
			return value
		}
		return found
	})
}
