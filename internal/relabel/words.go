package relabel

import (
	"fmt"
	"strings"

	promrelabel "github.com/prometheus/prometheus/model/relabel"
)

// Words returns a rule in words, on one line.
func Words(rule *promrelabel.Config) string {
	source := sources(rule)
	switch rule.Action {
	case promrelabel.Keep, promrelabel.Drop:
		return fmt.Sprintf("%s %s =~ %q", rule.Action, source, rule.Regex)
	case promrelabel.KeepEqual:
		return fmt.Sprintf("keep %s == %s", source, rule.TargetLabel)
	case promrelabel.DropEqual:
		return fmt.Sprintf("drop %s == %s", source, rule.TargetLabel)
	case promrelabel.LabelDrop:
		return fmt.Sprintf("remove labels =~ %q", rule.Regex)
	case promrelabel.LabelKeep:
		return fmt.Sprintf("remove labels !~ %q", rule.Regex)
	case promrelabel.LabelMap:
		return fmt.Sprintf("copy labels =~ %q to %q", rule.Regex, rule.Replacement)
	case promrelabel.Lowercase, promrelabel.Uppercase:
		return fmt.Sprintf("set %s to %s(%s)", rule.TargetLabel, rule.Action, source)
	case promrelabel.HashMod:
		return fmt.Sprintf("set %s to hash(%s) mod %d", rule.TargetLabel, source, rule.Modulus)
	default:
		return replaceWords(rule, source)
	}
}

// replaceWords returns a replace rule in words. It leaves out fields that have their default value.
func replaceWords(rule *promrelabel.Config, source string) string {
	always := rule.Regex.String() == promrelabel.DefaultRelabelConfig.Regex.String()
	condition := ""
	if !always {
		condition = fmt.Sprintf(" where %s =~ %q", source, rule.Regex)
	}
	switch {
	case rule.Replacement == "":
		return fmt.Sprintf("remove label %s%s", rule.TargetLabel, condition)
	case always && rule.Replacement == promrelabel.DefaultRelabelConfig.Replacement:
		return fmt.Sprintf("set %s to %s", rule.TargetLabel, source)
	case always && !strings.Contains(rule.Replacement, "$"):
		return fmt.Sprintf("set %s to %q", rule.TargetLabel, rule.Replacement)
	case always:
		return fmt.Sprintf("set %s to %q, $1 being %s", rule.TargetLabel, rule.Replacement, source)
	default:
		return fmt.Sprintf("set %s to %q%s", rule.TargetLabel, rule.Replacement, condition)
	}
}

// sources lists the source labels, and the separator if it is not the default semicolon.
func sources(rule *promrelabel.Config) string {
	if len(rule.SourceLabels) == 0 {
		return `""`
	}
	names := make([]string, len(rule.SourceLabels))
	for i, n := range rule.SourceLabels {
		names[i] = string(n)
	}
	if len(names) == 1 {
		return names[0]
	}
	if rule.Separator != promrelabel.DefaultRelabelConfig.Separator {
		return fmt.Sprintf("[%s joined by %q]", strings.Join(names, ", "), rule.Separator)
	}
	return "[" + strings.Join(names, ", ") + "]"
}
