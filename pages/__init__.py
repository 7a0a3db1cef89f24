"""What Streamlit draws: main.py around each page, one package per page, and what they share in common."""
