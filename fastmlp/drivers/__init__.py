"""The compiled drivers of many steps, and how threads share them."""
