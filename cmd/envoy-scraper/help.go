package main

import (
	"slices"
	"strings"
	"text/template"

	"github.com/alecthomas/kingpin/v2"
)

// helpTemplate prints the help. Flags are grouped by the word before the dot, as in storage.path. The help of the
// program includes the flags of the default command.
const helpTemplate = `{{define "flags"}}{{range Groups .}}
{{.Title}}
{{.Flags|FlagsToTwoColumns|FormatTwoColumns}}{{end}}{{end -}}
{{.App.Help|Wrap 0}}
{{if .Context.SelectedCommand -}}
Usage: {{.App.Name}} {{.Context.SelectedCommand.FullCommand -}}
{{if .Context.SelectedCommand.Commands}} <command>{{end}}{{template "args" .Context.SelectedCommand}} [flags]

{{.Context.SelectedCommand.Help|Wrap 2}}{{range .Context.SelectedCommand.Commands}}
  {{.Name|printf "%-10s"}}{{.Help}}{{end}}{{template "flags" .Context.SelectedCommand.Flags}}
{{- else -}}
Usage: {{.App.Name}} [command] [flags]

Commands
{{range .App.Commands}}{{if not .Hidden}}  {{.FullCommand|printf "%-10s"}}{{.Help}}
{{end}}{{end}}
{{.App.Name}} <command> --help lists the flags of a command. The flags of run, the default command:
{{range .App.Commands}}{{if .Default}}{{template "flags" .Flags}}{{end}}{{end -}}
{{end}}
{{define "args"}}{{range .Args}} {{if .Required}}<{{.Name}}>{{else}}[<{{.Name}}>]{{end}}{{end}}{{end}}`

// flagGroup is the flags whose names begin with the same word.
type flagGroup struct {
	Title string
	Flags []*kingpin.FlagModel
}

// groups puts flags into groups. The first group has the flags without a known word.
func groups(flags []*kingpin.FlagModel) []flagGroup {
	titles := []string{"Flags", "config", "remote-write", "scrape", "via", "storage", "web", "memory", "log"}
	out := make([]flagGroup, len(titles))
	for i, title := range titles {
		out[i].Title = title
	}
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		word, _, dotted := strings.Cut(f.Name, ".")
		at := slices.Index(titles, word)
		if !dotted || at < 0 {
			at = 0
		}
		out[at].Flags = append(out[at].Flags, f)
	}
	return slices.DeleteFunc(out, func(g flagGroup) bool { return len(g.Flags) == 0 })
}

func useHelp(app *kingpin.Application) {
	app.UsageFuncs(template.FuncMap{"Groups": groups}).UsageTemplate(helpTemplate)
}
