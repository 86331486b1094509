"""Lists as the organisers of NewsImages write them."""

ORGANISERS = "article\taid\turl\timg\tiid\thashvalue\ttitle\ttext\timgFile"
LINKED = (
    f"# {ORGANISERS}\tDate\n"
    "901\t1\thttps://example.org/a\thttps://example.org/a.jpg\t31\thA\tZwei Löwen im Zoo\tSie hei&szlig;en <b>Max</b> "
    "und  Moritz.\thA.jpg\t2019-04-02\n"
    '905\t2\thttps://example.org/b\t\t30\thB\t"Der ""Dom"" bröckelt"\tN/A\thB.jpg\t2019-04-01\n'
    "903\t3\thttps://example.org/c\t\t\thC\tOhne Bild\tKÃ¶ln\t\tTue, 02 Apr 2019 12:00:00 +0200\n"
)
