package report

import (
	"strings"
	"testing"
	"unicode"
)

func TestClean(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "a b", "a b"},
		{"lines become one", "a\n\tb\r\n  c ", "a b c"},
		{"colours", "\x1b[31mred\x1b[0m", "red"},
		{"moves", "\x1b[2J\x1b[10;10Hgone\x1b[1A", "gone"},
		{"title", "\x1b]0;owned\x07text", "text"},
		{"title ended by ST", "\x1b]0;owned\x1b\\text", "text"},
		{"title without an end", "\x1b]0;owned", ""},
		{"one letter", "a\x1bcb\x1b7c", "abc"},
		{"escape alone", "a\x1b", "a"},
		{"bell, backspace, nul, delete", "a\a\bb\x00c\x7f", "abc"},
		{"C1", "a\u009b31mb", "a31mb"},
		{"direction", "a\u202egnp.exe\u2066", "agnp.exe"},
		{"zero width", "a\u200bb\ufeff", "ab"},
		{"not UTF-8", "a\xffb", "ab"},
		{"wide and combined stay", "銀行 e\u0301", "銀行 e\u0301"},
	} {
		if got := clean(test.text); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, text := range []string{"", "\x1b[31mred\x1b[0m", "\x1b]0;x\x07", "\xff\x00", "銀行\u202e", "a\x1b\x1b[0m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q leaves %q", text, r)
			}
		}
		for _, width := range []int{1, 2, 7, 30} {
			if n := columnsOf(cut(got, width)); n > width {
				t.Fatalf("%q cut to %d takes %d columns", got, width, n)
			}
			if n := columnsOf(padded(got, width)); n != width && n != width-1 { // a wide letter may not fit
				t.Fatalf("%q padded to %d takes %d columns", got, width, n)
			}
		}
	})
}

func TestColumns(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		all   int
		want  string
	}{
		{"payments", 8, 8, "payments"},
		{"payments", 7, 8, "paymen…"},
		{"payments", 1, 8, "…"},
		{"payments", 0, 8, ""},
		{"銀行が遅い", 10, 10, "銀行が遅い"},
		{"銀行が遅い", 6, 10, "銀行…"},
		{"e\u0301e\u0301", 2, 2, "e\u0301e\u0301"},
		{"⚡", 1, 2, "…"},
	} {
		if got := columnsOf(test.text); got != test.all {
			t.Errorf("%q takes %d columns, want %d", test.text, got, test.all)
		}
		if got := cut(test.text, test.width); got != test.want {
			t.Errorf("%q cut to %d is %q, want %q", test.text, test.width, got, test.want)
		}
	}
	for _, mark := range []string{markFault, markPhase, markGood, markBad, markDoubt, markAlert, markNote, "█", "░", "▁", "…", "–"} {
		if columnsOf(mark) != 1 {
			t.Errorf("the mark %s is not one column wide everywhere", mark)
		}
	}
}

func TestLineEndsWhereTheTerminalDoes(t *testing.T) {
	style := Style{Width: 10, Color: true}
	got := style.line(cell{"12345", red}, cell{"67890123", green}, cell{"never", ""})
	if want := "\x1b[31m12345\x1b[0m\x1b[32m6789…\x1b[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Style{}).line(cell{strings.Repeat("x", 100), red}); got != strings.Repeat("x", 79)+"…" {
		t.Errorf("without a width there are 80 columns and without colour no escapes, got %q", got)
	}
}

func TestWrapped(t *testing.T) {
	got := strings.Join(wrapped("  ? ", "one two three averyveryverylongword four", 14), "\n")
	if want := "  ? one two\n    three\n    averyvery…\n    four"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
