package system

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// vocabulary is what the templates of a text may say. Whoever fills them in understands
// more; what is permitted here is what both the launcher and the load generator do.
type vocabulary struct {
	actions map[string]func(args []string) (message, hint string)
	fields  []string // what {{.name}} may name
	hint    string
}

// variables is the vocabulary of commands and environments.
func variables(callees []string) vocabulary {
	return vocabulary{
		hint: `permitted: {{port}}, {{admin_port}}, {{addr "callee"}}, {{data_dir}}, {{replica}}`,
		actions: map[string]func([]string) (string, string){
			"port": noArguments, "admin_port": noArguments, "data_dir": noArguments, "replica": noArguments,
			"addr": func(args []string) (string, string) { return checkAddr(args, callees) },
		},
	}
}

// requestWords is the vocabulary of requests: what the load generator offers
// and what earlier steps extracted.
func requestWords(extracted []string) vocabulary {
	return vocabulary{
		hint:   "permitted: {{rand 1 500}}, {{uuid}}, {{seq}} and {{.name}} of what an earlier step extracts",
		fields: append([]string{}, extracted...), // not nil: fields are known here, even where there is none
		actions: map[string]func([]string) (string, string){
			"uuid": noArguments, "seq": noArguments, "rand": checkRand,
		},
	}
}

// check adds what is wrong with the templates in a text to the errors of the source.
func (v vocabulary) check(src *strictyaml.Source, path, text string) {
	for {
		_, rest, found := strings.Cut(text, "{{")
		if !found {
			return
		}
		action, after, closed := strings.Cut(rest, "}}")
		if !closed {
			src.Fail(path, fmt.Sprintf("{{ without }} in %q", "{{"+rest), v.hint)
			return
		}
		if message, hint := v.checkAction(strings.Fields(action)); message != "" {
			src.Fail(path, fmt.Sprintf("{{%s}}: %s", action, message), hint)
		}
		text = after
	}
}

func (v vocabulary) checkAction(words []string) (message, hint string) {
	if len(words) == 0 {
		return "nothing between the brackets", v.hint
	}
	if field, dotted := strings.CutPrefix(words[0], "."); dotted && v.fields != nil {
		if len(words) == 1 && slices.Contains(v.fields, field) {
			return "", ""
		}
		message, hint = strictyaml.Unknown("name", field, v.fields)
		return message + "; no step before extracts it", hint
	}
	check, known := v.actions[words[0]]
	if !known {
		message, hint = strictyaml.Unknown("word", words[0], slices.Sorted(maps.Keys(v.actions)))
		if !strings.HasPrefix(hint, "did you mean") {
			hint = v.hint
		}
		return message, hint
	}
	if message, hint = check(words[1:]); message != "" && hint == "" {
		hint = v.hint
	}
	return message, hint
}

func noArguments(args []string) (message, hint string) {
	if len(args) > 0 {
		return "takes no argument", ""
	}
	return "", ""
}

func checkAddr(args, callees []string) (message, hint string) {
	if len(args) != 1 {
		return "takes one service in quotes", ""
	}
	callee, err := strconv.Unquote(args[0])
	if err != nil || args[0][0] == '\'' {
		return "takes one service in quotes", ""
	}
	if !slices.Contains(callees, callee) {
		message, hint = strictyaml.Unknown("callee", callee, callees)
		return message + ", which calls does not list", hint
	}
	return "", ""
}

func checkRand(args []string) (message, hint string) {
	if len(args) != 2 {
		return "takes two whole numbers", ""
	}
	low, lowErr := strconv.ParseInt(args[0], 10, 64)
	high, highErr := strconv.ParseInt(args[1], 10, 64)
	switch {
	case lowErr != nil || highErr != nil:
		return "takes two whole numbers", ""
	case low > high:
		return fmt.Sprintf("%d is more than %d", low, high), ""
	}
	return "", ""
}
