package report

// PageStyle is the style sheet of the lab's pages, for others that want to
// look like them.
func PageStyle() string {
	style, err := PageFile("page.css")
	if err != nil { // it is embedded
		panic(err)
	}
	return string(style)
}
