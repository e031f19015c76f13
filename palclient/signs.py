"""What a SERVERNAME that is none may show of its writer's intention: a table of signs, and the words for each (N3, N4, N5)."""

from __future__ import annotations

PORT_LIMIT = 65535

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![\w.-])"

COMMAS = "The three servers of a triad are separated by commas."
SEMICOLON = (
    "In FLEXnet lists a semicolon separates independent servers, each with licenses of its own. The three servers of a triad serve one "
    "pool together and are separated by commas."
)
_NO_REMARK = "In an INI file all of the line after the '=' is the value: a comment needs a line of its own that starts with ';'."
_NO_FILE = (
    "SERVERNAME names the license servers themselves, not a license file, a path or a folder. Host and port stand in that file, on its SERVER lines."
)
PORT_FIRST = "A server is written port@host: the port first, then an '@', then the host."
_MISSING = "A server was forgotten there, or the comma is one too many."
HOST = "Host names have letters, digits, hyphens, dots and underscores."

_START, _END = r"(?<![^,\s])", r"(?![^,\s])"  # of an entry

SIGN = r"(?<![:/\\+&])[/\\+&]+(?=\s*[0-9]{1,5}@)"  # before a whole server
_REMARK = r"(?<=[ \t]);(?!\s*[^\s,;@]*@[^\s,;@]+\s*(?:[,;]|\Z))|\A[^;,]*@[^;,]*,[^;,]*,[^;,]*(;)(?=[^;,@]*\Z)"  # the latter: behind three servers
_WORD = rf"(?:{IPV4}|(?=[\w.-]*[A-Za-z])[\w.-]++)"
COLON_LIST = rf"\s*{_WORD}(:){_WORD}:{_WORD}\s*\Z"  # of three hosts; an IPv6 address would have more colons, or two together
_COLON = rf"[^,\s\[](:)(?=[0-9]*@)|\A{COLON_LIST}|{_START}(?=[\w.-]*[G-Zg-z])[A-Za-z][\w.-]*(:)(?=[A-Za-z])"  # the last: no IPv6 address either
#: A pattern whose group, if it has one, is under the caret; what is wrong ({} is the text found); why.  The first row that fits speaks,
#: so the rows that explain most come first.  They are compiled when one is needed.
SIGNS = (
    (r";(?=[\s;]*\Z)", "a semicolon ends the value", f"Leave it out. {SEMICOLON}"),
    (r"\A;", "a semicolon starts the value", f"Leave it out. {SEMICOLON}"),
    (_REMARK, "a semicolon starts no comment here", f"{_NO_REMARK} {SEMICOLON}"),
    (r"\A(?=[^,]*,)[^;]*(;)", "commas and semicolons are mixed", SEMICOLON),
    (r"\A[^;]*(;)[\s;]*[^\s;][^;]*;[\s;]*[^\s;][^;]*\Z", "semicolons stand between the servers", SEMICOLON),
    (r";", "a semicolon stands between two servers", f"{SEMICOLON} palclient works with one triad or one single server: keep one."),
    (r"(?<=[ \t])(?:#|//)", "'{}' starts no comment here", _NO_REMARK),
    (
        r"%[^%,@]+%|%\([^),]*\)s|\$\{[^},]*\}?|\$\([^),]*\)?|\$\w+",
        "{} was not replaced",
        "Variables mean nothing here: write the host's name in its place.",
    ),
    (r"<[^<>,]*>|\{+[^{},@]*\}+", "{} is a placeholder", "Write the name of your license server in its place, without any brackets."),
    (r"[A-Za-z]{2,10}://", "'{}' makes this a URL", "A server is written port@host, with nothing before or after it."),
    (
        r"(?i:\bservername\s*=+)|\A\w*\s*=+",
        "'{}' stands inside the value",
        "The name of the setting and its '=' are needed once, before the value.",
    ),
    (r"\A(?i:SERVER)[ \t]+[^\s,@]+[ \t]+[^\s,@]", "this is a SERVER line of a license file", "Of SERVER HOST HOSTID PORT, write PORT@HOST here."),
    (r"\\\Z", "a backslash does not continue the line", "Write all servers on one line, with commas between them."),
    (SIGN, "'{}' does not separate servers", COMMAS),
    (r"(?:\b[A-Za-z]:)?[\\/]", "'{}' makes this a path", _NO_FILE),
    (rf"(?i){_START}[^,|:@\s]+\.(?:lic|dat)(?![^,|:\s])", "{} is a license file", _NO_FILE),
    (r"[\r\n]", "the value goes on over more than one line", "Write all servers on one line, with commas between them."),
    (r"\|", "'|' does not separate servers", COMMAS),
    (r"[\"']", "a quote stands inside the value", "One pair of quotes may stand around the whole value; none is better."),
    (r"(?<=[^,\s]),(?=[\s,]*\Z)", "the value ends with a comma", f"{_MISSING} A value ends with its line."),
    (r"\A,", "the value starts with a comma", _MISSING),
    (r",\s*(,)", "nothing stands between two commas", _MISSING),
    (_COLON, "a colon does not separate servers", f"In FLEXnet lists on Unix it separates independent servers. {COMMAS}"),
    (r"(?:(?<=@)|(?<![^,\s]))[0-9A-Fa-f.]*:[0-9A-Fa-f]*:", "an IPv6 address needs brackets", "It is written 27000@[2001:db8::7]."),
    (rf"{_START}[0-9]+(:)", "a colon stands between port and host", "A server is written port@host, with an '@' between them."),
    (rf"(?:{_START}|@)(?:[^,@\[\s:]+|\[[0-9A-Fa-f:.]+\])(:)", "a colon stands between host and port", PORT_FIRST),
    (
        r"(?:\A|,)\s*[0-9]+([ \t]+)[\w.-]+\s*(?![^,])",
        "a blank stands between port and host",
        "A server is written port@host, with an '@' between them.",
    ),
    (r"(?:\A|,)\s*[\w.-]+([ \t]+)[0-9]+\s*(?![^,])", "a blank stands between host and port", PORT_FIRST),
    (rf"{_START}[^,\s@]+([ \t]+)(?=@)|(?<=@)[ \t]+(?=[^,\s])", "a blank stands beside the '@'", "A server is written port@host, without blanks."),
    (r"[^,\s](\s)\s*(?=[^,\s])", "a blank does not separate servers", f"{COMMAS} Host names have no blanks."),
    (r"@[^,@]*(@)", "one server has two '@'", "A server is port@host. If two servers were meant, a comma is missing between them."),
    (rf"{_START}[^,@\s]*[^,@\s0-9][^,@\s]*@[0-9]+{_END}", "host and port have changed places", PORT_FIRST),
    (rf"{_START}([^,@\s]*[^,@\s0-9][^,@\s]*)@", "'{}' is not a port", f"Before the '@' stands a number from 1 to {PORT_LIMIT}, or nothing."),
    (rf"@{_END}", "no host stands after the '@'", "Write the name of the license server there."),
    (rf"{_START}[0-9]+{_END}", "{} is a number and not a host", "A port needs an '@' and a host after it: 27000@lic1."),
    (rf"(?:{_START}|(?<=@))(?!{IPV4})[0-9.]+{_END}", "{} is no IPv4 address", "It has four numbers from 0 to 255, with dots between them."),
    (
        r"(?:@|(?<![^,\s]))(\[)[^\],]*(?![^,])|(?:@|(?<![^,\s]))[^\[,]*(\])",
        "a bracket has no partner",
        "An IPv6 address is written 27000@[2001:db8::7].",
    ),
    (r"\[[^\]]*?([^0-9A-Fa-f:.\]])", "'{}' is not allowed in an IPv6 address", "Zones cannot be used. It is written 27000@[2001:db8::7]."),
    (r"[^\w.@,\s\[\]:-]", "'{}' is not allowed in a host name", HOST),
    (r"(?:@|(?<![^,\s]))(\.)|\.(\.)", "a dot too many in the host name", "Before a dot, and between two, stands a letter or a digit."),
    (r"[\w.-]{253}([\w.-])", "the host name is too long", "253 characters are possible."),
    (r"[\w-]{63}([\w-])", "a part of the host name is too long", "63 characters are possible between two dots."),
    (r"[\[\]:]", "'{}' is not allowed in a host name", HOST),
)
