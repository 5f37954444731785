"""The HTML of the product page: a pure function of what the services answered."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
:root { --ink: #1d2433; --soft: #5c667a; --line: #e3e7ee; --paper: #fff; --ground: #f4f6fa;
  --accent: #2f5bea; --none: #8a94a6; --black: #1d2433; --red: #d3304a; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header { background: var(--ink); color: #fff; }
header > div { max-width: 64rem; margin: 0 auto; padding: .8rem 1.5rem; display: flex;
  align-items: center; justify-content: space-between; gap: 1rem; flex-wrap: wrap; }
header a, header a:visited { color: #fff; text-decoration: none; }
.brand { font-weight: 650; letter-spacing: .01em; }
.brand span { color: #9fb4ff; font-weight: 400; margin-left: .5rem; }
form, .user { display: flex; gap: .5rem; align-items: center; margin: 0; }
input { font: inherit; padding: .3rem .7rem; border: 1px solid #48526a; border-radius: 8px;
  background: #2a3346; color: #fff; width: 11rem; }
input::placeholder { color: #a4aec2; }
button, .button { font: inherit; padding: .3rem .9rem; border: 0; border-radius: 8px;
  background: var(--accent); color: #fff; cursor: pointer; }
main { max-width: 64rem; margin: 0 auto; padding: 2.2rem 1.5rem; }
h1 { font: 700 2.3rem/1.2 Georgia, "Times New Roman", serif; margin: 0 0 .6rem; }
.summary { color: var(--soft); max-width: 44rem; margin: 0 0 2rem; font-size: 1.05rem; }
.columns { display: grid; grid-template-columns: 20rem 1fr; gap: 1.5rem; align-items: start; }
@media (max-width: 50rem) { .columns { grid-template-columns: 1fr; } }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 14px;
  padding: 1.4rem 1.6rem; box-shadow: 0 1px 3px rgba(29, 36, 51, .05); }
h2 { font-size: 1.05rem; margin: 0 0 1rem; display: flex; align-items: center;
  justify-content: space-between; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .45rem 1.2rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; text-align: right; }
.badge { font-size: .8rem; font-weight: 600; padding: .1rem .6rem; border-radius: 999px;
  color: #fff; background: var(--none); }
.badge.black { background: var(--black); } .badge.red { background: var(--red); }
blockquote { margin: 0; padding: 1.1rem 0; border-top: 1px solid var(--line); }
blockquote:first-of-type { border-top: 0; padding-top: 0; }
blockquote p { margin: 0 0 .5rem; font-family: Georgia, "Times New Roman", serif;
  font-size: 1.08rem; }
cite { color: var(--soft); font-style: normal; font-size: .92rem; }
.stars { font-size: 1.25rem; letter-spacing: .12em; margin-right: .7rem; }
.stars.black { color: var(--black); } .stars.red { color: var(--red); }
.stars i { font-style: normal; color: #d5dbe6; }
.sorry { color: var(--red); margin: 0; }
footer { color: var(--soft); font-size: .85rem; margin-top: 1.2rem; }
footer code { font-size: .85rem; }
"""

LABELS = {
    "author": "Author",
    "year": "Year",
    "type": "Type",
    "pages": "Pages",
    "publisher": "Publisher",
    "language": "Language",
    "ISBN-10": "ISBN-10",
    "ISBN-13": "ISBN-13",
}


def render(
    *,
    product: Mapping[str, Any],
    details: Mapping[str, Any] | None,
    reviews: Mapping[str, Any] | None,
    user: str,
    pod: str,
) -> str:
    """Return the page; `details` or `reviews` is None when its service gave no answer."""
    title = escape(str(product["title"]))
    version = escape(str(reviews.get("version", "?"))) if reviews else "none"
    served = f" · reviews by <code>{escape(str(reviews['podname']))}</code>" if reviews else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Bookinfo</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header><div>
<a class="brand" href="/productpage">Bookinfo<span>a sample on Tandem</span></a>
{_account(user)}
</div></header>
<main data-reviews-version="{version}">
<h1>{title}</h1>
<p class="summary">{escape(str(product["descriptionHtml"]))}</p>
<div class="columns">
<section><h2>Book details</h2>
{_details(details)}
</section>
<section><h2>Reviews {_badge(reviews)}</h2>
{_reviews(reviews)}
</section>
</div>
<footer>page by <code>{escape(pod)}</code>{served}</footer>
</main>
</body>
</html>
"""


def _account(user: str) -> str:
    if user:
        return (
            f'<div class="user">Signed in as <b>{escape(user)}</b>'
            ' <a class="button" href="/logout">Sign out</a></div>'
        )
    return (
        '<form method="post" action="/login"><input name="username" aria-label="User name"'
        ' placeholder="User name" required maxlength="64" pattern="[A-Za-z0-9._@\\-]+">'
        "<button>Sign in</button></form>"
    )


def _details(details: Mapping[str, Any] | None) -> str:
    if details is None:
        return '<p class="sorry">Sorry, the details of this book are out of reach.</p>'
    rows = (
        f"<dt>{escape(label)}</dt><dd>{escape(str(details[key]))}</dd>"
        for key, label in LABELS.items()
        if key in details
    )
    return f"<dl>{''.join(rows)}</dl>"


def _badge(reviews: Mapping[str, Any] | None) -> str:
    if not reviews:
        return ""
    colours = [r["rating"].get("color", "") for r in reviews["reviews"] if "rating" in r]
    colour = colours[0] if colours and colours[0] in ("black", "red") else ""
    return f'<span class="badge {colour}">{escape(str(reviews.get("version", "?")))}</span>'


def _reviews(reviews: Mapping[str, Any] | None) -> str:
    if reviews is None:
        return '<p class="sorry">Sorry, the reviews of this book are out of reach.</p>'
    return "\n".join(
        f"<blockquote><p>{escape(str(review['text']))}</p>"
        f"{_rating(review.get('rating'))}<cite>{escape(str(review['reviewer']))}</cite>"
        "</blockquote>"
        for review in reviews["reviews"]
    )


def _rating(rating: Mapping[str, Any] | None) -> str:
    if rating is None:
        return ""
    if "stars" not in rating:
        return f'<cite class="sorry">{escape(str(rating.get("error", "")))}</cite> '
    stars = max(0, min(5, int(rating["stars"])))
    colour = "red" if rating.get("color") == "red" else "black"
    empty = f"<i>{'★' * (5 - stars)}</i>" if stars < 5 else ""
    return (
        f'<span class="stars {colour}" role="img" aria-label="{stars} of 5 stars">'
        f"{'★' * stars}{empty}</span>"
    )
